package check

import (
	"io"
	"log"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v3/pkg/chart"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

func TestMain(m *testing.M) {
	// Helm says at each load that the alerts are a link, and not a copy, in the chart.
	log.SetOutput(io.Discard)
	os.Exit(m.Run())
}

// fresh returns the chart and the values of a file, with settings in the form of `--set`.
func fresh(t *testing.T, file string, settings ...string) (*chart.Chart, map[string]any) {
	t.Helper()
	loaded, err := loadChart()
	if err != nil {
		t.Fatal(err)
	}
	values, err := readValues("values/"+file+".yaml", settings...)
	if err != nil {
		t.Fatal(err)
	}
	return loaded, values
}

// expect fails the test unless the error contains the words.
func expect(t *testing.T, err error, words string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("expected an error with %q, got %v", words, err)
	}
}

func TestEveryReleaseIsWhatKubernetesAndTheProgramAccept(t *testing.T) {
	cases, err := filepath.Glob("values/*.yaml")
	if err != nil || len(cases) < 7 {
		t.Fatalf("%d files of values: %v", len(cases), err)
	}
	for _, file := range cases {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			chart, values := fresh(t, name)
			if err := lintChart(values); err != nil {
				t.Error(err)
			}
			all, err := verified(chart, values, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			restricted(t, all)
		})
	}
}

// restricted checks the pod against the strictest of Kubernetes' own standards, and for what that leaves out.
func restricted(t *testing.T, all objects) {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	pod := all.pod()
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	if found := policy.AggregateCheckResults(evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec)); !found.Allowed {
		t.Errorf("Pod Security Standard restricted: %s", found.ForbiddenDetail())
	}
	context := pod.Spec.Containers[0].SecurityContext
	if readOnly := context.ReadOnlyRootFilesystem; readOnly == nil || !*readOnly {
		t.Error("the root filesystem can be written")
	}
	if token := pod.Spec.AutomountServiceAccountToken; token == nil || *token {
		t.Error("the pod gets a token of Kubernetes")
	}
}

func TestTheVersionIsTheWorkspaces(t *testing.T) {
	version, err := workspaceVersion()
	if err != nil {
		t.Fatal(err)
	}
	chart, _ := fresh(t, "sender")
	if chart.Metadata.Version != version || chart.Metadata.AppVersion != version {
		t.Errorf("Chart.yaml: version %s of %s, Cargo.toml: %s", chart.Metadata.Version, chart.Metadata.AppVersion, version)
	}
}

func TestTheAlertsAreThoseOfPrometheus(t *testing.T) {
	chart, values := fresh(t, "sender-standby")
	all, err := decoded(chart, values)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../prometheus/causeway.rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file monitoring.PrometheusRuleSpec
	if err := yaml.UnmarshalStrict(text, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Groups[0].Rules) < 10 || !reflect.DeepEqual(all.rules[0].Spec, file) {
		t.Error("the alerts of the chart differ from deploy/prometheus/causeway.rules.yaml")
	}
}

// Values that no release may have, as changes of a file; `because` is in the error.
var refused = []struct {
	file, set, because string
}{
	{"sender", "role=", "/role"},
	{"sender", "role=sendr", "/role"},
	{"sender", "rolle=sender", "rolle"},
	{"sender", "image.repository=", "/image/repository"},
	{"sender", "image.digest=sha256:12", "/image/digest"},
	{"sender", "replicas=two", "/replicas"},
	{"receiver", "replicas=2", "/replicas"},
	{"sender", "address=127.0.0.1", "/address"},
	{"sender", "tls.secret=", "/tls"},
	{"receiver-cert-manager", "tls.certificate.dnsNames=null", "/tls"},
	{"sender-standby", "tls.ca.secret=authorities", "/tls/ca"},
	{"sender", "admin.secret=", "/admin/secret"},
	{"receiver", "service.type=Loadbalancer", "/service/type"},
	{"receiver", "service.port=0", "/service/port"},
	{"receiver", "networkPolicy.senders={192.0.2.0}", "/networkPolicy/senders/0"},
	{"sender", "podSecurityContext.runAsUser=0", "/podSecurityContext/runAsUser"},
	{"sender", "podSecurityContext.runAsNonRoot=false", "runAsNonRoot"},
	{"sender", "podLabels.helm\\.sh/chart=other", "invalid propertyName 'helm.sh/chart'"},
	{"sender", "config=", "/config"},
	{"sender", "config=[tls]", "which the chart writes"},
	{"receiver", "config=listen = \"0.0.0.0:1\"", "which the chart writes"},
	{"sender-standby", "config=instance = \"a\"", "two senders with one name"},
	{"sender", "serviceMonitor.enabled=true", "networkPolicy.admin"},
	{"sender-standby", "serviceMonitor.serverName=", "serviceMonitor.serverName"},
}

func TestWrongValuesAreRefused(t *testing.T) {
	for _, wrong := range refused {
		t.Run(wrong.set, func(t *testing.T) {
			chart, values := fresh(t, wrong.file, wrong.set)
			_, err := render(chart, values)
			expect(t, err, wrong.because)
		})
	}
}

// The checks would also pass if they saw nothing: each of these changes of a template must fail one.
var mistakes = []struct {
	file, template, text, by, because string
}{
	{"sender", "statefulset", "readOnlyRootFilesystem:", "readonlyRootFilesystem:", "unknown field \"spec.template.spec.containers[0].securityContext.readonlyRootFilesystem\""},
	{"sender", "statefulset", "enableServiceLinks: false", "automountServiceAccountToken: false", "key \"automountServiceAccountToken\" already set"},
	{"sender", "services", "targetPort: admin", "targetPort: amdin", "port amdin/TCP, which no container has"},
	{"receiver", "services", "protocol: UDP", "protocol: TCP", "port quic/TCP, which no container has"},
	{"sender", "services", "clusterIP: None", "type: ClusterIP", "gives its pods no names"},
	{"sender-standby", "networkpolicy", "port: admin", "port: quic", "port quic/TCP, which no container has"},
	{"sender-standby", "monitoring", "causeway/port: admin", "causeway/port: amdin", "finds 0 Services"},
	{"sender-standby", "monitoring", "jobLabel:", "joblabel:", "unknown field \"spec.joblabel\""},
	{"sender-cert-manager", "certificate", "issuerRef:", "issuer:", "unknown field \"spec.issuer\""},
	{"sender", "statefulset", "key: tls.key", "key: key.pem", "link-tls has no key key.pem"},
	{"sender", "statefulset", "defaultMode: 288", "defaultMode: 420", "have another mode than 440"},
	{"sender", "statefulset", "name: tls, mountPath", "name: tsl, mountPath", "no volume tsl"},
	{"sender", "_helpers", "tls/tls.crt", "tls/cert.crt", "cert.crt"},
	{"sender", "_helpers", "[admin]", "[amdin]", "unknown key `amdin`"},
}

func TestMistakesInTemplatesAreFound(t *testing.T) {
	for _, mistake := range mistakes {
		t.Run(mistake.by, func(t *testing.T) {
			chart, values := fresh(t, mistake.file)
			changed := false
			for _, file := range chart.Templates {
				if strings.HasPrefix(file.Name, "templates/"+mistake.template+".") {
					changed = strings.Contains(string(file.Data), mistake.text)
					file.Data = []byte(strings.ReplaceAll(string(file.Data), mistake.text, mistake.by))
				}
			}
			if !changed {
				t.Fatalf("%s has no %s", mistake.template, mistake.text)
			}
			_, err := verified(chart, values, t.TempDir())
			expect(t, err, mistake.because)
		})
	}
}

func TestConfigurationsThatTheProgramRefusesFail(t *testing.T) {
	for _, wrong := range []struct{ text, by, because string }{
		{"topics =", "topcis =", "unknown key `topcis`"},
		{"{ file = \"/etc/causeway/kafka/password\" }", "\"secret\"", "is a secret"},
		{"kafka/password", "kafka/pasword", "cannot be read"},
		{"rate = \"500 Mbit/s\"", "rate = 500", "has no unit"},
	} {
		t.Run(wrong.by, func(t *testing.T) {
			chart, values := fresh(t, "sender-standby")
			config := values["config"].(string)
			if !strings.Contains(config, wrong.text) {
				t.Fatalf("no %s", wrong.text)
			}
			values["config"] = strings.Replace(config, wrong.text, wrong.by, 1)
			_, err := verified(chart, values, t.TempDir())
			expect(t, err, wrong.because)
		})
	}
}
