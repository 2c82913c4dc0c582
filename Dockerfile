# One image for Prefect's server, the worker that audits, and the review page; see docker-compose.yml.
FROM python:3.11.14-slim-bookworm

# HOME: the root file system is read-only where compose starts it, and libraries keep small things below it.
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    DO_NOT_TRACK=1 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    PREFECT_SERVER_UI_V2_ENABLED=false \
    PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT=false \
    PREFECT_SERVER_UI_STATIC_DIRECTORY=/tmp/prefect/ui \
    PREFECT_HOME=/tmp/prefect \
    HOME=/tmp \
    HF_HOME=/models \
    GRADATTN_OUT=/results

# A new named volume takes over the owner of the folder that it is mounted on.
RUN groupadd --gid 1000 gradattn \
    && useradd --uid 1000 --gid gradattn --no-create-home gradattn \
    && install --directory --owner gradattn --group gradattn /data /models /prefect /results

WORKDIR /app

# The dependencies weigh gigabytes and change rarely: a layer of their own. Most of it is CUDA, which an index of torch's
# builds for the CPU leaves out. Other builds do not start without the libraries that they are linked to; where no GPU is,
# Triton and cuDNN's engines are only loaded by what is never run. Prefect's second page loads a tracker, whatever its
# server is told.
ARG TORCH_INDEX=
ARG GPU=
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
        > requirements.txt \
    && pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} --constraint constraints.txt --requirement requirements.txt \
    && if [ -z "$GPU" ]; then \
        pip uninstall --yes triton && find /usr/local/lib -path '*/nvidia/cudnn/lib/libcudnn_*' -delete; fi \
    && python -c "import pathlib, prefect, shutil; [shutil.rmtree(f) for f in pathlib.Path(prefect.__file__).parent.glob('server/ui[-_]v2*')]"

COPY README.md LICENSE ./
COPY gradattn_core gradattn_core
COPY flows flows
COPY ui ui
RUN PIP_CONSTRAINT=constraints.txt pip install --no-deps .

USER gradattn
WORKDIR /results
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --start-interval=1s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8501/_stcore/health', timeout=5)"]
CMD ["gradattn", "ui", "--out", "/results", "--address", "0.0.0.0", "--port", "8501"]
