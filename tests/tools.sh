#!/usr/bin/env bash
# Gets the servers and the independent verifiers that the tests run, once, into a cache outside the tree.
# Without Java, Maven or Go it says so: the tests that need them skip with that reason, or fail when CI=true.
set -euo pipefail
cache=$1
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$cache/bin"

bash "$here/elasticsearch.sh" "$cache" || echo "tools: Elasticsearch cannot be assembled" >&2

if ! command -v go >/dev/null; then
    echo "tools: no Go here, so no fsck and no tlogcheck: tests that need them are skipped" >&2
    exit 0
fi
if [ ! -x "$cache/bin/tessera-fsck" ]; then # under a name that cannot be taken for the file system's fsck
    if GOBIN="$cache/build" go install github.com/transparency-dev/tessera/cmd/fsck@v1.0.4; then
        mv "$cache/build/fsck" "$cache/bin/tessera-fsck"
    else
        echo "tools: fsck cannot be built" >&2
    fi
fi
s3() { # name, version, what to build: an S3 server with Object Lock, under a name that tells its version
    if [ ! -x "$cache/bin/$1-$2" ]; then
        GOBIN="$cache/build" go install "$3@$2" && mv "$cache/build/$1" "$cache/bin/$1-$2" ||
            { echo "tools: $1 cannot be built" >&2 && return; }
    fi
    ln -sfn "$1-$2" "$cache/bin/$1"
}
s3 versitygw v1.8.0 github.com/versity/versitygw/cmd/versitygw
s3 minio v0.0.0-20260212201848-7aac2a2c5b7c github.com/minio/minio # its releases' tags are no versions for Go
sum=$(cat "$here"/integration/go/* | sha256sum | cut -c1-16)
if [ ! -x "$cache/bin/tlogcheck-$sum" ]; then
    (cd "$here/integration/go" && go build -o "$cache/bin/tlogcheck-$sum" .) || echo "tools: tlogcheck cannot be built" >&2
fi
ln -sfn "tlogcheck-$sum" "$cache/bin/tlogcheck"
