{{/* Name of the release's objects. A StatefulSet's is at most 52 characters, because its pods get labels made of it. */}}
{{- define "causeway.name" -}}
{{- $default := contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) -}}
{{- .Values.fullnameOverride | default $default | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "causeway.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .Values.role }}
{{- end -}}

{{- define "causeway.labels" -}}
{{ include "causeway.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "causeway.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The default ports of the two commands. */}}
{{- define "causeway.adminPort" -}}
{{ eq .Values.role "sender" | ternary 7401 7402 }}
{{- end -}}

{{- define "causeway.tlsSecret" -}}
{{ .Values.tls.secret | default (printf "%s-tls" (include "causeway.name" .)) }}
{{- end -}}

{{/* Name in the certificate by which Prometheus knows the admin port. */}}
{{- define "causeway.serverName" -}}
{{- $names := .Values.tls.certificate.dnsNames -}}
{{- $default := empty $names | ternary "" (first (append $names "")) -}}
{{- required "serviceMonitor.serverName: a name in the certificate is required, without which Prometheus refuses it" (.Values.serviceMonitor.serverName | default $default) -}}
{{- end -}}

{{/* The file that the process reads: that of the user, and what must fit the pod. */}}
{{- define "causeway.config" -}}
{{- if regexMatch "(?m)^\\s*(listen\\s*=|\\[\\s*(tls|admin)\\s*\\])" .Values.config -}}
{{- fail "config: leave out `listen`, [tls] and [admin], which the chart writes" -}}
{{- end -}}
{{- if and (gt (int .Values.replicas) 1) (regexMatch "(?m)^\\s*instance\\s*=" .Values.config) -}}
{{- fail "config: leave out `instance`: the pods of several replicas share this file, and two senders with one name replace each other" -}}
{{- end -}}
{{- if eq .Values.role "receiver" -}}
listen = "{{ .Values.address }}:7443"

{{ end -}}
{{ .Values.config | trim }}

[tls]
ca = "/etc/causeway/tls/ca.crt"
certificate = "/etc/causeway/tls/tls.crt"
key = "/etc/causeway/tls/tls.key"

[admin]
listen = "{{ .Values.address }}:{{ include "causeway.adminPort" . }}"
token = "/etc/causeway/admin/token"
{{- end -}}
