{{/* The labels of every object. The selector of the pods has the first two, which must not change in an upgrade. */}}
{{- define "geofront.selector" -}}
app.kubernetes.io/name: geofront
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "geofront.labels" -}}
{{ include "geofront.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
{{- define "geofront.secret" -}}
{{ .Values.existingSecret | default .Release.Name }}
{{- end }}
