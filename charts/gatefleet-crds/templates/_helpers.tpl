{{- /* SPDX-FileCopyrightText: The Gatefleet Authors */ -}}
{{- /* SPDX-License-Identifier: Apache-2.0 */ -}}
{{- define "gatefleet-crds.labels" -}}
app.kubernetes.io/name: gatefleet-crds
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: gatefleet
{{- end -}}
