"""Logs in Elasticsearch: what fields there are, and the files of Filebeat, Logstash, Elasticsearch and Kibana."""
