# syntax=docker/dockerfile:1

# The same Rust as rust-toolchain.toml names, which is left out so that nothing is downloaded again.
FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /build

# First the dependencies alone, in a layer that stays until one of them changes: every crate of ours is empty.
COPY Cargo.toml Cargo.lock ./
COPY bench/Cargo.toml bench/
COPY bench/instructions/Cargo.toml bench/instructions/
COPY catga/Cargo.toml catga/
COPY catga-axum/Cargo.toml catga-axum/
COPY catga-macros/Cargo.toml catga-macros/
COPY order-system/Cargo.toml order-system/
COPY tests/Cargo.toml tests/
RUN mkdir bench/src bench/instructions/src catga/src catga-axum/src catga-macros/src order-system/src tests/src \
    && touch bench/src/lib.rs bench/instructions/src/lib.rs catga/src/lib.rs catga-axum/src/lib.rs catga-macros/src/lib.rs order-system/src/lib.rs tests/src/lib.rs \
    && echo 'fn main() {}' > order-system/src/main.rs \
    && cargo build --locked --release --package order-system \
    && rm -r catga/src catga-axum/src catga-macros/src order-system/src

# Then ours. Cargo goes by the times of files, and the copied ones can be older than the empty ones.
COPY catga/examples catga/examples
COPY catga/src catga/src
COPY catga-axum/src catga-axum/src
COPY catga-macros/src catga-macros/src
COPY order-system/src order-system/src
RUN find catga catga-axum catga-macros order-system -name '*.rs' -exec touch {} + \
    && cargo build --locked --release --package order-system \
    && mkdir /data

FROM debian:bookworm-slim
RUN groupadd --system --gid 10001 order-system \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin order-system
COPY --from=build /build/target/release/order-system /usr/local/bin/
# What a server with TLS is trusted by.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
# A new volume gets the owner of the directory that it is mounted over.
COPY --from=build --chown=10001:10001 /data /data
ENV CATGA_DATA_DIR=/data
VOLUME /data
# By number, so that an orchestrator can tell that it is not root.
USER 10001
EXPOSE 5000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["order-system", "healthcheck"]
ENTRYPOINT ["order-system"]
CMD ["--host", "0.0.0.0"]
