# Debian's Orthanc, so that the stack needs no registry beside those of the base image and Debian.
ARG BASE=python:3.11-slim
FROM ${BASE}
RUN apt-get update -q \
    && apt-get install -q -y --no-install-recommends orthanc orthanc-dicomweb orthanc-python \
    && rm -rf /var/lib/apt/lists/*
COPY docker/orthanc.json /etc/orthanc-al/orthanc.json
USER orthanc
EXPOSE 4242 8042
CMD ["Orthanc", "/etc/orthanc-al/orthanc.json"]
