# The distribution's Orthanc on the same base: the stack needs no other registry.
ARG BASE=python:3.11-slim
FROM ${BASE}
RUN apt-get update -q \
    && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
        orthanc orthanc-dicomweb orthanc-python \
    && rm -rf /var/lib/apt/lists/*
# The user id of orthanc_al's container: the two share the folder of secrets.
RUN usermod --uid 10001 orthanc \
    && install -d -o orthanc -m 0700 /var/lib/orthanc/db /var/lib/orthanc-al/secrets
COPY orthanc_al/orthanc/plugin/orthanc_al_plugin.py orthanc_al/orthanc/plugin/LICENSE /opt/orthanc-al/
COPY docker/orthanc.json /etc/orthanc-al/orthanc.json
COPY docker/orthanc-entrypoint.sh /opt/orthanc-al/
# DCMTK inside of Orthanc waits for delayed acknowledgements otherwise: 40 ms an instance.
ENV TCP_NODELAY=1
USER orthanc
WORKDIR /var/lib/orthanc
VOLUME /var/lib/orthanc/db
EXPOSE 4242 8042
ENTRYPOINT ["sh", "/opt/orthanc-al/orthanc-entrypoint.sh"]
