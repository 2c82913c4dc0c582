# One image for Prefect's server, the worker that audits, and the review page; see docker-compose.yml.
FROM python:3.11.14-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    DO_NOT_TRACK=1 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    PREFECT_HOME=/prefect \
    HF_HOME=/models

# A new named volume takes over the owner of the folder that it is mounted on.
RUN groupadd --gid 1000 gradattn \
    && useradd --uid 1000 --gid gradattn --create-home gradattn \
    && install --directory --owner gradattn --group gradattn /data /models /prefect /results

WORKDIR /app

# The dependencies weigh gigabytes and change rarely: a layer of their own.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
        > requirements.txt \
    && pip install --constraint constraints.txt --requirement requirements.txt

COPY README.md LICENSE ./
COPY gradattn_core gradattn_core
COPY flows flows
COPY ui ui
RUN PIP_CONSTRAINT=constraints.txt pip install --no-deps .

USER gradattn
WORKDIR /results
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8501/_stcore/health', timeout=5)"]
CMD ["gradattn", "ui", "--out", "/results", "--address", "0.0.0.0", "--port", "8501"]
