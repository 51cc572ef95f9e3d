// Package check renders the chart as Helm does, and tests what comes out: `cargo xtask chart` runs it.
package check

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	"helm.sh/helm/v3/pkg/releaseutil"
	"helm.sh/helm/v3/pkg/strvals"
)

const (
	chartDir  = "../causeway"
	release   = "fra-to-sin"
	namespace = "links"
)

// loadChart reads the chart from its folder, as `helm install FOLDER` does.
func loadChart() (*chart.Chart, error) {
	return loader.LoadDir(chartDir)
}

// readValues reads a file of values and applies `settings` to it, each in the form of `--set`.
func readValues(file string, settings ...string) (map[string]any, error) {
	values, err := chartutil.ReadValuesFile(file)
	if err != nil {
		return nil, err
	}
	for _, setting := range settings {
		if err := strvals.ParseInto(setting, values); err != nil {
			return nil, fmt.Errorf("--set %s: %w", setting, err)
		}
	}
	return values, nil
}

// render makes the documents as `helm template` does, after the schema has accepted the values.
func render(of *chart.Chart, values map[string]any) ([]string, error) {
	options := chartutil.ReleaseOptions{Name: release, Namespace: namespace, Revision: 1, IsInstall: true}
	context, err := chartutil.ToRenderValues(of, values, options, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(of, context)
	if err != nil {
		return nil, err
	}
	var documents []string
	for name, text := range files {
		if strings.HasSuffix(name, "NOTES.txt") {
			continue
		}
		for _, document := range releaseutil.SplitManifests(text) {
			if strings.TrimSpace(document) != "" {
				documents = append(documents, document)
			}
		}
	}
	return documents, nil
}

// decoded renders the chart and reads what comes out.
func decoded(of *chart.Chart, values map[string]any) (objects, error) {
	documents, err := render(of, values)
	if err != nil {
		return objects{}, err
	}
	return decode(documents)
}

// verified is decoded, with every further check that a release must pass: no name in it leads to nothing, its pod gets all
// that it mounts, and the program accepts what it finds there. `dir` is an empty directory.
func verified(of *chart.Chart, values map[string]any, dir string) (objects, error) {
	all, err := decoded(of, values)
	if err != nil {
		return objects{}, err
	}
	if err := all.references(); err != nil {
		return objects{}, err
	}
	certificates, err := makeCertificates(dir)
	if err != nil {
		return objects{}, err
	}
	own := certificates[values["role"].(string)]
	mounted, err := mounted(all.pod().Spec, existing(own).with(all, own))
	if err != nil {
		return objects{}, err
	}
	return all, accepts(mounted, all.pod().Spec.Containers[0].Args[1], dir)
}

// lintChart returns what `helm lint` complains of. That the chart has no icon is only information.
func lintChart(values map[string]any) error {
	var complaints []error
	for _, message := range lint.All(chartDir, values, namespace, true).Messages {
		if message.Severity > support.InfoSev {
			complaints = append(complaints, message)
		}
	}
	return errors.Join(complaints...)
}

// workspaceVersion returns the version in the workspace's Cargo.toml.
func workspaceVersion() (string, error) {
	text, err := os.ReadFile("../../../Cargo.toml")
	if err != nil {
		return "", err
	}
	for _, line := range strings.Split(string(text), "\n") {
		if version, found := strings.CutPrefix(line, "version = "); found {
			return strings.Trim(version, `"`), nil
		}
	}
	return "", errors.New("Cargo.toml states no version")
}
