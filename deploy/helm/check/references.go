package check

import (
	"errors"
	"fmt"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// references returns every name in the release that leads to nothing: Kubernetes accepts such a document, and does not what
// it is for.
func (all objects) references() error {
	set, pod := all.statefulSets[0], all.pod()
	var wrong []error
	selects := func(who string, selector map[string]string) {
		wrong = append(wrong, selected(who, selector, pod.Labels))
	}
	selects("the StatefulSet", set.Spec.Selector.MatchLabels)
	governing, err := all.service(set.Spec.ServiceName)
	wrong = append(wrong, err)
	if err == nil && governing.Spec.ClusterIP != core.ClusterIPNone {
		wrong = append(wrong, errors.New("the Service of the StatefulSet gives its pods no names"))
	}
	for _, service := range all.services {
		selects("Service "+service.Name, service.Spec.Selector)
		for _, port := range service.Spec.Ports {
			wrong = append(wrong, named(pod, "Service "+service.Name, port.TargetPort, port.Protocol))
		}
	}
	for _, budget := range all.budgets {
		selects("the disruption budget", budget.Spec.Selector.MatchLabels)
	}
	for _, policy := range all.policies {
		selects("the network policy", policy.Spec.PodSelector.MatchLabels)
		for _, rule := range policy.Spec.Ingress {
			for _, port := range rule.Ports {
				wrong = append(wrong, named(pod, "the network policy", *port.Port, *port.Protocol))
			}
		}
	}
	for _, container := range pod.Spec.Containers {
		for _, probe := range []*core.Probe{container.LivenessProbe, container.ReadinessProbe} {
			wrong = append(wrong, named(pod, "a probe", probe.HTTPGet.Port, core.ProtocolTCP))
		}
	}
	for _, monitor := range all.monitors {
		wrong = append(wrong, all.scraped(monitor))
	}
	return errors.Join(wrong...)
}

// selected checks that a selector has labels, and that they are among `present`.
func selected(who string, selector, present map[string]string) error {
	if len(selector) == 0 || !labels.SelectorFromSet(selector).Matches(labels.Set(present)) {
		return fmt.Errorf("%s selects %v, which %v are not", who, selector, present)
	}
	return nil
}

// named checks that a container of the pod has this port.
func named(pod *core.PodTemplateSpec, who string, port intstr.IntOrString, protocol core.Protocol) error {
	for _, container := range pod.Spec.Containers {
		for _, declared := range container.Ports {
			if declared.Name == port.StrVal && declared.Protocol == protocol {
				return nil
			}
		}
	}
	return fmt.Errorf("%s names port %s/%s, which no container has", who, port.String(), protocol)
}

// scraped checks that a ServiceMonitor finds exactly one Service, which has the ports that it scrapes.
func (all objects) scraped(monitor *monitoring.ServiceMonitor) error {
	selector, err := meta.LabelSelectorAsSelector(&monitor.Spec.Selector)
	if err != nil {
		return err
	}
	var found []*core.Service
	for _, service := range all.services {
		if selector.Matches(labels.Set(service.Labels)) {
			found = append(found, service)
		}
	}
	if len(found) != 1 {
		return fmt.Errorf("the ServiceMonitor finds %d Services", len(found))
	}
	for _, endpoint := range monitor.Spec.Endpoints {
		if endpoint.Port != found[0].Spec.Ports[0].Name {
			return fmt.Errorf("the ServiceMonitor scrapes port %s, which the Service has not", endpoint.Port)
		}
	}
	return nil
}
