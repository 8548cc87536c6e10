{{/* The chart's name, 40 characters at most so that suffixes fit. */}}
{{- define "quorate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of everything the release makes; cluster-wide objects add the namespace. */}}
{{- define "quorate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "quorate.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "quorate.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "quorate.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "quorate.fullname" .) -}}
{{- end -}}

{{- define "quorate.serviceAccount" -}}
{{- default (printf "%s-operator" (include "quorate.fullname" .)) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "quorate.selector" -}}
app.kubernetes.io/name: {{ include "quorate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "quorate.labels" -}}
{{ include "quorate.selector" . }}
app.kubernetes.io/part-of: quorate
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "quorate.operatorImage" -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}

{{- define "quorate.sidecarImage" -}}
{{- printf "%s:%s" .Values.sidecar.image.repository (default .Chart.AppVersion .Values.sidecar.image.tag) -}}
{{- end -}}

{{/*
Who owns the RaftCluster definition: "none" (not there), "ours" (this release made it) or "foreign" (kubectl apply or
another release did). Only the first two are ours to write (K52). Without a cluster, as in `helm template`: "none".
*/}}
{{- define "quorate.crdOwner" -}}
{{- $found := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" "raftclusters.quorate.dev" -}}
{{- if not $found -}}
none
{{- else -}}
{{- $annotations := default dict $found.metadata.annotations -}}
{{- $name := get $annotations "meta.helm.sh/release-name" -}}
{{- $namespace := get $annotations "meta.helm.sh/release-namespace" -}}
{{- if and (eq $name .Release.Name) (eq $namespace .Release.Namespace) -}}ours{{- else -}}foreign{{- end -}}
{{- end -}}
{{- end -}}
