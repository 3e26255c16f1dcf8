{{- /* SPDX-FileCopyrightText: The Gatefleet Authors */ -}}
{{- /* SPDX-License-Identifier: Apache-2.0 */ -}}
{{- define "gatefleet.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "gatefleet.labels" -}}
app.kubernetes.io/name: gatefleet
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "gatefleet.selector" -}}
app.kubernetes.io/name: gatefleet
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "gatefleet.image" -}}
{{- $tag := .image.tag | default .appVersion -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ $tag }}
{{- end -}}
{{- end -}}
