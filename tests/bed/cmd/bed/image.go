package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
)

// nonroot is the user of an image that names none: the number the restricted Pod Security Standard asks for is any
// but 0, and this is the one people know from distroless images.
const nonroot = "65532"

const imageArguments = "OUT NAME --entrypoint WORD... [--env KEY=VALUE]... [--user UID] FILE=PATH... [@TARGET=PATH]..."

// image is a one-layer container image, as `docker load` and `ctr images import` take it. The same input gives the
// same bytes: no times, no names of users, entries in order.
type image struct {
	name        string
	entrypoint  []string
	environment []string
	user        string
	files       []imageFile
}

// imageFile is a file of the image, or a symbolic link if it has a target.
type imageFile struct {
	path    string
	content []byte
	mode    int64
	target  string
}

// standardFiles are in every image: programs look up their own user and want to write to /tmp.
func standardFiles() []imageFile {
	return []imageFile{
		{path: "etc/passwd", mode: 0o644, content: []byte("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:" + nonroot + ":" + nonroot + ":nonroot:/tmp:/sbin/nologin\n")},
		{path: "etc/group", mode: 0o644, content: []byte("root:x:0:\nnonroot:x:" + nonroot + ":\n")},
	}
}

// standardFolders are mount points that container runtimes expect.
var standardFolders = []string{"dev", "etc", "proc", "sys", "tmp"}

func (i image) write(out io.Writer) error {
	layer, err := i.layer()
	if err != nil {
		return err
	}
	digest := sum(layer)
	type settings struct {
		User       string   `json:"User"`
		Entrypoint []string `json:"Entrypoint"`
		Env        []string `json:"Env"`
		WorkingDir string   `json:"WorkingDir"`
	}
	type layers struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	}
	configuration, err := json.Marshal(struct {
		Architecture string   `json:"architecture"`
		OS           string   `json:"os"`
		Config       settings `json:"config"`
		RootFS       layers   `json:"rootfs"`
	}{runtime.GOARCH, "linux",
		settings{i.user, i.entrypoint, append([]string{"PATH=/bin:/usr/bin"}, i.environment...), "/"},
		layers{"layers", []string{"sha256:" + digest}}})
	if err != nil {
		return err
	}
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	configurationName, layerName := sum(configuration)+".json", digest+"/layer.tar"
	manifest, err := json.Marshal([]entry{{configurationName, []string{i.name}, []string{layerName}}})
	if err != nil {
		return err
	}
	archive := tar.NewWriter(out)
	for _, file := range []imageFile{
		{path: configurationName, content: configuration, mode: 0o644},
		{path: layerName, content: layer, mode: 0o644},
		{path: "manifest.json", content: manifest, mode: 0o644},
	} {
		if err := addFile(archive, file); err != nil {
			return err
		}
	}
	return archive.Close()
}

// layer is the image's root file system: folders before what is in them, everything owned by root.
func (i image) layer() ([]byte, error) {
	files := append(standardFiles(), i.files...)
	slices.SortFunc(files, func(a, b imageFile) int { return strings.Compare(a.path, b.path) })
	folders := slices.Clone(standardFolders)
	for n, file := range files {
		if n > 0 && files[n-1].path == file.path {
			return nil, fmt.Errorf("/%s is in the image twice", file.path)
		}
		for folder := path.Dir(file.path); folder != "."; folder = path.Dir(folder) {
			folders = append(folders, folder)
		}
	}
	slices.Sort(folders) // a folder sorts before what is in it
	var out bytes.Buffer
	archive := tar.NewWriter(&out)
	for _, folder := range slices.Compact(folders) {
		mode := int64(0o755)
		if folder == "tmp" {
			mode = 0o1777
		}
		if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: folder + "/", Mode: mode}); err != nil {
			return nil, err
		}
	}
	for _, file := range files {
		if err := addFile(archive, file); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), archive.Close()
}

func addFile(archive *tar.Writer, file imageFile) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: file.path, Mode: file.mode, Size: int64(len(file.content))}
	if file.target != "" {
		header = &tar.Header{Typeflag: tar.TypeSymlink, Name: file.path, Mode: 0o777, Linkname: file.target}
	}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err := archive.Write(file.content)
	return err
}

func sum(content []byte) string {
	digest := sha256.Sum256(content)
	return hex.EncodeToString(digest[:])
}

// parseImage reads the command line of `bed image` and the files it names.
func parseImage(arguments []string) (out string, img image, err error) {
	img = image{user: nonroot}
	var plain []string
	for len(arguments) > 0 {
		word := arguments[0]
		arguments = arguments[1:]
		if !strings.HasPrefix(word, "--") {
			plain = append(plain, word)
			continue
		}
		if len(arguments) == 0 {
			return "", image{}, usage("%s needs a value", word)
		}
		value := arguments[0]
		arguments = arguments[1:]
		switch word {
		case "--entrypoint":
			img.entrypoint = append(img.entrypoint, value)
		case "--env":
			img.environment = append(img.environment, value)
		case "--user":
			img.user = value
		default:
			return "", image{}, usage("image has no option %s", word)
		}
	}
	if len(plain) < 2 || len(img.entrypoint) == 0 {
		return "", image{}, usage("the form is: bed image %s", imageArguments)
	}
	out, img.name = plain[0], plain[1]
	// containerd knows images by their whole name, and the kubelet pulls what has no tag or `latest`.
	if !strings.Contains(img.name, "/") || !strings.Contains(path.Base(img.name), ":") {
		return "", image{}, usage("%q is no whole image name: write it as localhost/NAME:TAG", img.name)
	}
	for _, word := range plain[2:] {
		file, err := readImageFile(word)
		if err != nil {
			return "", image{}, err
		}
		img.files = append(img.files, file)
	}
	return out, img, nil
}

func readImageFile(word string) (imageFile, error) {
	source, destination, found := strings.Cut(word, "=")
	destination = strings.TrimPrefix(path.Clean(destination), "/")
	if !found || source == "" || destination == "." || strings.HasPrefix(destination, "..") {
		return imageFile{}, usage("%q is not FILE=PATH", word)
	}
	if target, isLink := strings.CutPrefix(source, "@"); isLink {
		return imageFile{path: destination, target: target}, nil
	}
	status, err := os.Stat(source)
	if err != nil {
		return imageFile{}, fmt.Errorf("cannot put %s into the image: %w", source, err)
	}
	content, err := os.ReadFile(source)
	if err != nil {
		return imageFile{}, fmt.Errorf("cannot put %s into the image: %w", source, err)
	}
	mode := int64(0o644) // Whatever the umask was here, the image has one of two modes.
	if status.Mode()&0o111 != 0 {
		mode = 0o755
	}
	return imageFile{path: destination, content: content, mode: mode}, nil
}

func writeImageCommand(arguments []string) error {
	out, img, err := parseImage(arguments)
	if err != nil {
		return err
	}
	return writeImage(out, img)
}

func writeImage(out string, img image) error {
	var archive bytes.Buffer
	if err := img.write(&archive); err != nil {
		return fmt.Errorf("cannot write image %s: %w", img.name, err)
	}
	return os.WriteFile(out, archive.Bytes(), 0o644)
}
