{{- define "instance.name" -}}{{ .Values.customer }}-instance{{- end -}}
{{- define "instance.selector" -}}
app.kubernetes.io/name: instance
0711/customer: {{ .Values.customer | quote }}
{{- end -}}
{{- define "instance.secret" -}}{{ .Values.accessKey.existingSecret | default (include "instance.name" .) }}{{- end -}}
{{- define "instance.image" -}}
{{- if .Values.image.digest -}}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}{{ .Values.image.repository }}:{{ required "image.tag or image.digest is needed" .Values.image.tag }}{{- end -}}
{{- end -}}
