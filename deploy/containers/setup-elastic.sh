#!/bin/sh
# Gives Elasticsearch the life cycle and the index template, and Kibana its objects, all from deploy/elk (docs/logs.md).
set -eu
elasticsearch=${ELASTICSEARCH:-http://elasticsearch:9200}
kibana=${KIBANA:-http://kibana:5601}
folder=${FOLDER:-/elk}

put() {
	curl --silent --show-error --fail-with-body --max-time 30 --request PUT --header 'Content-Type: application/json' \
		--data-binary "@$2" "$elasticsearch/$1"
	echo
}

put _ilm/policy/scoreboard-logs "$folder/lifecycle.json"
put _index_template/scoreboard-logs "$folder/index-template.json"
curl --silent --show-error --fail-with-body --max-time 60 --header 'kbn-xsrf: true' \
	--form "file=@$folder/kibana.ndjson" "$kibana/api/saved_objects/_import?overwrite=true"
echo
