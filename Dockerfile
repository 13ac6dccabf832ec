# docker build -t invlib . && docker run --rm -it invlib
FROM python:3.11-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends build-essential chromium git npm \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /course
COPY . .
RUN make environment
ENV PATH=/course/.venv/bin:$PATH
CMD ["bash"]
