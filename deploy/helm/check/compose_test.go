package check

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"sigs.k8s.io/yaml"
)

func project(t *testing.T) *types.Project {
	t.Helper()
	project, err := loadCompose(filepath.Join(composeDir, "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func TestTheComposeFileIsComplete(t *testing.T) {
	project := project(t)
	if err := binds(project); err != nil {
		t.Error(err)
	}
	ids := map[string]bool{}
	for _, name := range []string{"kafka-fra", "kafka-sin"} {
		ids[*project.Services[name].Environment["CLUSTER_ID"]] = true
	}
	if len(ids) != 2 {
		t.Error("the clusters have one id, which a link refuses")
	}
	shared := []string{}
	for network := range project.Services["sender"].Networks {
		if _, found := project.Services["receiver"].Networks[network]; found {
			shared = append(shared, network)
		}
	}
	if len(shared) != 1 || shared[0] != "wan" {
		t.Errorf("the ends share the networks %v: the link could go around the WAN", shared)
	}
}

func TestTheProgramAcceptsTheFilesOfCompose(t *testing.T) {
	project := project(t)
	pki := filepath.Join(t.TempDir(), "link")
	said, err := causeway("pki", "init", pki, "--link", "fra-to-sin", "--sender", "sender", "--receiver", "receiver")
	if err != nil {
		t.Fatal(said, err)
	}
	made, err := readDir(pki)
	if err != nil {
		t.Fatal(err)
	}
	volume := files{"admin.token": []byte(strings.Repeat("0123456789abcdef", 4))}
	for name, text := range made {
		volume["link/"+name] = text
	}
	for _, role := range []string{"sender", "receiver"} {
		service := project.Services[role]
		content, err := contents(service, map[string]files{"pki": volume})
		if err != nil {
			t.Fatal(err)
		}
		if err := accepts(content, service.Command[1], t.TempDir()); err != nil {
			t.Error(err)
		}
	}
}

// Grafana reads two files that say where the rest is.
func TestGrafanaFindsPrometheusAndTheDashboard(t *testing.T) {
	project := project(t)
	content, err := contents(project.Services["grafana"], nil)
	if err != nil {
		t.Fatal(err)
	}
	var sources struct {
		APIVersion  int `json:"apiVersion"`
		Datasources []struct {
			Name, Type, URL string
			IsDefault       bool `json:"isDefault"`
		}
	}
	var dashboards struct {
		APIVersion int `json:"apiVersion"`
		Providers  []struct {
			Name, Type string
			Options    struct{ Path string }
		}
	}
	const below = "/etc/grafana/provisioning/"
	if err := yaml.UnmarshalStrict(content[below+"datasources/causeway.yaml"], &sources); err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(content[below+"dashboards/causeway.yaml"], &dashboards); err != nil {
		t.Fatal(err)
	}
	if url := sources.Datasources[0].URL; url != "http://prometheus:9090" || project.Services["prometheus"].Name == "" {
		t.Errorf("no Prometheus at %s", url)
	}
	board := filepath.Join(dashboards.Providers[0].Options.Path, "causeway.json")
	home := *project.Services["grafana"].Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
	if content[board] == nil || home != board {
		t.Errorf("no dashboard at %s, or another at %s", board, home)
	}
}

func TestMistakesInComposeAreFound(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(composeDir, "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, mistake := range []struct{ text, by, because string }{
		{"stop_grace_period:", "stop_grace:", "stop_grace"},
		{"networks: [sin, wan]", "networks: [sin, wam]", "undefined network wam"},
		{"- pki:/etc/prometheus/pki:ro", "- pik:/etc/prometheus/pki:ro", "undefined volume pik"},
		{"network_mode: service:sender", "network_mode: service:sendr", "sendr"},
		{"./wan.sh:", "./wna.sh:", "wna.sh, which is no file"},
		{"alpine:3.22", "alpine", "not pinned"},
	} {
		t.Run(mistake.by, func(t *testing.T) {
			if !strings.Contains(string(text), mistake.text) {
				t.Fatalf("no %s", mistake.text)
			}
			file := filepath.Join(t.TempDir(), "compose.yaml")
			if err := os.WriteFile(file, []byte(strings.Replace(string(text), mistake.text, mistake.by, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			project, err := loadCompose(file)
			if err == nil {
				err = binds(project)
			}
			expect(t, err, mistake.because)
		})
	}
}
