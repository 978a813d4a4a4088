{{- define "platform.selector" -}}
app.kubernetes.io/name: platform-0711
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}
{{- define "platform.image" -}}
{{- if .Values.image.digest -}}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}{{ .Values.image.repository }}:{{ required "image.tag or image.digest is needed" .Values.image.tag }}{{- end -}}
{{- end -}}
