package check

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

const composeDir = "../../compose"

// loadCompose reads a file as `docker compose config` does: by the schema of the Compose specification, with every name in
// it that must lead to something.
func loadCompose(file string) (*types.Project, error) {
	options, err := cli.NewProjectOptions([]string{file}, cli.WithWorkingDirectory(composeDir))
	if err != nil {
		return nil, err
	}
	return options.LoadProject(context.Background())
}

// binds checks that every file that a service mounts is in the project, and that every image is pinned.
func binds(project *types.Project) error {
	var wrong []error
	for _, service := range project.Services {
		if _, tag, _ := strings.Cut(service.Image, ":"); tag == "" || tag == "latest" {
			wrong = append(wrong, fmt.Errorf("%s: image %s is not pinned", service.Name, service.Image))
		}
		for _, volume := range service.Volumes {
			if volume.Type != types.VolumeTypeBind {
				continue
			}
			if found, err := os.Stat(volume.Source); err != nil || !found.Mode().IsRegular() {
				wrong = append(wrong, fmt.Errorf("%s mounts %s, which is no file", service.Name, volume.Source))
			}
		}
	}
	return errors.Join(wrong...)
}

// contents returns the files that a service has by their paths. `volumes` are contents of named volumes.
func contents(service types.ServiceConfig, volumes map[string]files) (files, error) {
	all := files{}
	for _, volume := range service.Volumes {
		if volume.Type == types.VolumeTypeBind {
			text, err := os.ReadFile(volume.Source)
			if err != nil {
				return nil, err
			}
			all[volume.Target] = text
			continue
		}
		for name, text := range volumes[volume.Source] {
			all[filepath.Join(volume.Target, name)] = text
		}
	}
	return all, nil
}
