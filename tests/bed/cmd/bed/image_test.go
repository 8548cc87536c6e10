package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func sample() image {
	return image{name: "localhost/sample:1", user: nonroot, entrypoint: []string{"/bin/sample", "--serve"}, files: []imageFile{
		{path: "bin/sample", content: []byte("program"), mode: 0o755},
		{path: "bin/alias", target: "sample"},
	}}
}

func written(t *testing.T, img image) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := img.write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// entries lists an archive as "mode name" or "mode name -> target", and keeps the contents.
func entries(t *testing.T, archive []byte) (list []string, contents map[string][]byte) {
	t.Helper()
	contents = map[string][]byte{}
	reader := tar.NewReader(bytes.NewReader(archive))
	for {
		header, err := reader.Next()
		if err == io.EOF {
			return list, contents
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Uid != 0 || header.Gid != 0 || header.Uname != "" || header.ModTime.Unix() != 0 {
			t.Errorf("%s carries something of this machine: %+v", header.Name, header)
		}
		line := header.FileInfo().Mode().String() + " " + header.Name
		if header.Linkname != "" {
			line += " -> " + header.Linkname
		}
		list = append(list, line)
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		contents[header.Name] = content
	}
}

// Images are compared and cached by their bytes: the order in which files were named must not show.
func TestTheSameImageIsTheSameBytes(t *testing.T) {
	swapped := sample()
	swapped.files[0], swapped.files[1] = swapped.files[1], swapped.files[0]
	if !bytes.Equal(written(t, sample()), written(t, swapped)) {
		t.Error("the order of the files changed the archive")
	}
	other := sample()
	other.files[0].content = []byte("another program")
	if bytes.Equal(written(t, sample()), written(t, other)) {
		t.Error("another program gave the same archive")
	}
}

func TestAnImageHoldsItsProgramAUserAndTheFoldersARuntimeExpects(t *testing.T) {
	_, outer := entries(t, written(t, sample()))
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(outer["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest) != 1 || len(manifest[0].Layers) != 1 || manifest[0].RepoTags[0] != "localhost/sample:1" {
		t.Fatalf("manifest: %s", outer["manifest.json"])
	}
	layer := outer[manifest[0].Layers[0]]
	list, contents := entries(t, layer)
	want := []string{
		"drwxr-xr-x bin/", "drwxr-xr-x dev/", "drwxr-xr-x etc/", "drwxr-xr-x proc/", "drwxr-xr-x sys/", "dtrwxrwxrwx tmp/",
		"Lrwxrwxrwx bin/alias -> sample", "-rwxr-xr-x bin/sample", "-rw-r--r-- etc/group", "-rw-r--r-- etc/passwd",
	}
	if got := strings.Join(list, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("the layer holds\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	if string(contents["bin/sample"]) != "program" {
		t.Errorf("the program reads %q", contents["bin/sample"])
	}
	var configuration struct {
		Config struct {
			User       string
			Entrypoint []string
		} `json:"config"`
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(outer[manifest[0].Config], &configuration); err != nil {
		t.Fatal(err)
	}
	if configuration.Config.User != nonroot || strings.Join(configuration.Config.Entrypoint, " ") != "/bin/sample --serve" {
		t.Errorf("configuration: %+v", configuration)
	}
	if len(configuration.RootFS.DiffIDs) != 1 || configuration.RootFS.DiffIDs[0] != "sha256:"+sum(layer) {
		t.Errorf("the configuration names the layer %v, it is sha256:%s", configuration.RootFS.DiffIDs, sum(layer))
	}
}

func TestAFileThatIsTwiceInAnImageIsRefused(t *testing.T) {
	img := sample()
	img.files = append(img.files, imageFile{path: "etc/passwd", content: []byte("x")})
	if err := img.write(io.Discard); err == nil || !strings.Contains(err.Error(), "/etc/passwd is in the image twice") {
		t.Errorf("got %v", err)
	}
}

func TestTheCommandLineOfImageIsReadInAnyOrder(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("x"), 0o700); err != nil {
		t.Fatal(err)
	}
	out, img, err := parseImage([]string{"--entrypoint", "/p", "o.tar", "localhost/a:1", "--env", "A=b", program + "=/p", "@/p=/bin/q", "--entrypoint", "run"})
	if err != nil {
		t.Fatal(err)
	}
	if out != "o.tar" || img.name != "localhost/a:1" || img.user != nonroot || strings.Join(img.entrypoint, " ") != "/p run" || img.environment[0] != "A=b" {
		t.Errorf("read %q %+v", out, img)
	}
	if img.files[0].path != "p" || img.files[0].mode != 0o755 || img.files[1].path != "bin/q" || img.files[1].target != "/p" {
		t.Errorf("files: %+v", img.files)
	}
}

func TestABadCommandLineOfImageSaysWhatIsWrong(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{"o.tar", "the form is: bed image OUT NAME"},
		{"o.tar localhost/a:1", "the form is: bed image OUT NAME"},
		{"o.tar a:1 --entrypoint /p", `"a:1" is no whole image name`},
		{"o.tar localhost/a --entrypoint /p", `"localhost/a" is no whole image name`},
		{"o.tar localhost/a:1 --entrypoint", "--entrypoint needs a value"},
		{"o.tar localhost/a:1 --size 3", "image has no option --size"},
		{"o.tar localhost/a:1 --entrypoint /p nothing", `"nothing" is not FILE=PATH`},
		{"o.tar localhost/a:1 --entrypoint /p x=../y", `"x=../y" is not FILE=PATH`},
		{"o.tar localhost/a:1 --entrypoint /p /no/such=/y", "cannot put /no/such into the image"},
	} {
		if _, _, err := parseImage(strings.Fields(test.line)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", test.line, err, test.want)
		}
	}
}
