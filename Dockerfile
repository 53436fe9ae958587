# The sidecar, and in /opt/adaptive-k/vllm-plugin the folder that an init container copies into vLLM's pod.
# docker build -t REGISTRY/adaptive-k:0.1.0 .
ARG BASE=python:3.13-slim-trixie

FROM ${BASE} AS build
WORKDIR /src
# pip has an environment of its own: none is left in the one that is shipped
RUN python3 -m venv /tools && python3 -m venv --without-pip /opt/adaptive-k/venv
COPY requirements/ requirements/
RUN /tools/bin/pip install --no-cache-dir -r requirements/build.lock \
 && /tools/bin/pip --python /opt/adaptive-k/venv install --no-cache-dir --no-deps --only-binary :all: -r requirements/run.lock
COPY pyproject.toml README.md LICENSE ./
COPY controller/ controller/
COPY engine-plugin/ engine-plugin/
RUN /tools/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . ./engine-plugin \
 && /tools/bin/pip --python /opt/adaptive-k/venv install --no-cache-dir --no-deps --no-index /wheels/adaptive_k-*.whl \
 && /tools/bin/pip install --no-cache-dir --no-deps --no-index --no-compile \
    --target /opt/adaptive-k/vllm-plugin /wheels/adaptive_k_vllm-*.whl

FROM ${BASE}
LABEL org.opencontainers.image.title="adaptive-k" \
      org.opencontainers.image.description="Keeps num_speculative_tokens right on a running vLLM server" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"
COPY --from=build /opt/adaptive-k /opt/adaptive-k
# one thread of linear algebra: its matrices are small, and by default it starts one for each core of the node
ENV PATH=/opt/adaptive-k/venv/bin:$PATH \
    OPENBLAS_NUM_THREADS=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 9460
ENTRYPOINT ["controller"]
CMD ["run"]
