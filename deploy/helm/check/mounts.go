package check

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	core "k8s.io/api/core/v1"
)

// fileMode is the mode of mounted files, which are root's: the program accepts a secret that its group may read, and none
// that others may.
const fileMode = 0o440

// Files are contents by name: those of a Secret by its keys, or those of a container by their paths.
type files map[string][]byte

// Store has the Secrets and ConfigMaps of a namespace by name, with those that are there before the release.
type store map[string]files

// existing returns what the values of the tests refer to, with the certificate of this end.
func existing(own files) store {
	token := []byte(strings.Repeat("0123456789abcdef", 4))
	return store{
		"link-tls":    own,
		"link-admin":  {"token": token, "admin.token": token},
		"link-kafka":  {"password": []byte("secret"), "ca.crt": own["ca.crt"]},
		"authorities": {"bundle.pem": own["ca.crt"]},
	}
}

// with returns the store after the release: with its own Secrets, and those that cert-manager makes for it.
func (before store) with(all objects, certificate files) store {
	after := store{}
	for name, content := range before {
		after[name] = content
	}
	for _, secret := range all.secrets {
		content := files{}
		for key, text := range secret.StringData {
			content[key] = []byte(text)
		}
		after[secret.Name] = content
	}
	for _, made := range all.certificates {
		after[made.Spec.SecretName] = certificate
	}
	return after
}

// mounted returns the files that the kubelet mounts into the pod's container, by their paths. A Secret, key or volume that
// does not exist is an error, with which a real pod would not start.
func mounted(pod core.PodSpec, from store) (files, error) {
	volumes := map[string]files{}
	for _, volume := range pod.Volumes {
		var err error
		var mode *int32
		content := files{}
		switch {
		case volume.Secret != nil:
			mode = volume.Secret.DefaultMode
			err = from.project(content, volume.Secret.SecretName, volume.Secret.Items)
		case volume.Projected != nil:
			mode = volume.Projected.DefaultMode
			for _, source := range volume.Projected.Sources {
				switch {
				case err != nil:
				case source.Secret != nil:
					err = from.project(content, source.Secret.Name, source.Secret.Items)
				case source.ConfigMap != nil:
					err = from.project(content, source.ConfigMap.Name, source.ConfigMap.Items)
				}
			}
		default:
			err = fmt.Errorf("volume %s is of a kind that this check does not know", volume.Name)
		}
		if err != nil {
			return nil, err
		}
		if mode == nil || *mode != fileMode {
			return nil, fmt.Errorf("the files of volume %s have another mode than %o", volume.Name, fileMode)
		}
		volumes[volume.Name] = content
	}
	all := files{}
	for _, mount := range pod.Containers[0].VolumeMounts {
		content, found := volumes[mount.Name]
		if !found {
			return nil, fmt.Errorf("no volume %s", mount.Name)
		}
		for name, bytes := range content {
			all[filepath.Join(mount.MountPath, name)] = bytes
		}
		delete(volumes, mount.Name)
	}
	if len(volumes) != 0 {
		return nil, fmt.Errorf("%d volumes are mounted nowhere", len(volumes))
	}
	return all, nil
}

// project adds keys of a Secret or ConfigMap to `to`; without items, all of them.
func (from store) project(to files, name string, items []core.KeyToPath) error {
	content, found := from[name]
	if !found {
		return fmt.Errorf("no Secret or ConfigMap %s", name)
	}
	if items == nil {
		for key, bytes := range content {
			to[key] = bytes
		}
	}
	for _, item := range items {
		bytes, found := content[item.Key]
		if !found {
			return fmt.Errorf("%s has no key %s", name, item.Key)
		}
		to[item.Path] = bytes
	}
	return nil
}

// write puts the files below a directory, readable by their owner only.
func (all files) write(below string) error {
	for path, bytes := range all {
		place := filepath.Join(below, path)
		if err := os.MkdirAll(filepath.Dir(place), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(place, bytes, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// readDir reads the files of a directory.
func readDir(dir string) (files, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	all := files{}
	for _, entry := range entries {
		bytes, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, err
		}
		all[entry.Name()] = bytes
	}
	return all, nil
}
