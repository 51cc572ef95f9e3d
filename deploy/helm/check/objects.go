package check

import (
	"fmt"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
)

// Objects are the documents of one release by kind, as Kubernetes and its operators would read them.
type objects struct {
	statefulSets []*apps.StatefulSet
	services     []*core.Service
	secrets      []*core.Secret
	policies     []*networking.NetworkPolicy
	budgets      []*policy.PodDisruptionBudget
	certificates []*certmanager.Certificate
	monitors     []*monitoring.ServiceMonitor
	rules        []*monitoring.PrometheusRule
}

// decode reads documents into the types of their kinds. A field that a type does not have, or that is there twice, is an
// error.
func decode(documents []string) (objects, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		apps.AddToScheme, core.AddToScheme, networking.AddToScheme, policy.AddToScheme, certmanager.AddToScheme,
		monitoring.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return objects{}, err
		}
	}
	strict := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	var all objects
	for _, document := range documents {
		object, kind, err := strict.Decode([]byte(document), nil, nil)
		if err != nil {
			return objects{}, fmt.Errorf("%w in\n%s", err, document)
		}
		switch object := object.(type) {
		case *apps.StatefulSet:
			all.statefulSets = append(all.statefulSets, object)
		case *core.Service:
			all.services = append(all.services, object)
		case *core.Secret:
			all.secrets = append(all.secrets, object)
		case *networking.NetworkPolicy:
			all.policies = append(all.policies, object)
		case *policy.PodDisruptionBudget:
			all.budgets = append(all.budgets, object)
		case *certmanager.Certificate:
			all.certificates = append(all.certificates, object)
		case *monitoring.ServiceMonitor:
			all.monitors = append(all.monitors, object)
		case *monitoring.PrometheusRule:
			all.rules = append(all.rules, object)
		default:
			return objects{}, fmt.Errorf("the chart is not expected to make a %s", kind)
		}
	}
	if len(all.statefulSets) != 1 {
		return objects{}, fmt.Errorf("%d StatefulSets in place of one", len(all.statefulSets))
	}
	return all, nil
}

// pod returns the pod that the release runs.
func (all objects) pod() *core.PodTemplateSpec {
	return &all.statefulSets[0].Spec.Template
}

// service returns a Service by its name.
func (all objects) service(name string) (*core.Service, error) {
	for _, service := range all.services {
		if service.Name == name {
			return service, nil
		}
	}
	return nil, fmt.Errorf("no Service %s", name)
}
