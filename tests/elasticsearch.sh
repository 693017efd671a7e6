#!/usr/bin/env bash
# Assembles the Elasticsearch that the tests talk to, once, into a cache outside the tree: the distribution that
# Elastic publishes for integration tests of plugins, with the modules for KQL queries and ES|QL added.
# It comes through Maven alone, which checks every file against its published checksum. What it lacks of a full
# cluster stands in tests/elastic_adapt.py.
set -euo pipefail
cache=$1
version=8.19.21
name=elasticsearch-$version-$(sha256sum "$0" | cut -c1-16)
made=$cache/$name
link() { # a name of its own, which cannot be taken for an installed elasticsearch
    mkdir -p "$cache/bin"
    ln -sfn "../$name/bin/elasticsearch" "$cache/bin/elasticsearch-$version"
}

if [ -d "$made" ]; then
    link
    exit 0
fi
if ! command -v java >/dev/null || ! command -v mvn >/dev/null; then
    echo "tools: no Java or no Maven here, so no Elasticsearch: tests that need it are skipped" >&2
    exit 0
fi

mkdir -p "$cache"
work=$(mktemp -d "$cache/elasticsearch.XXXXXX")
trap 'rm -rf "$work"' EXIT

# h3 has no release of this patch level; the module uses only its stable part.
cat >"$work/pom.xml" <<EOF
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>test</groupId><artifactId>elasticsearch</artifactId><version>1</version><packaging>pom</packaging>
  <dependencyManagement><dependencies><dependency>
    <groupId>org.elasticsearch</groupId><artifactId>elasticsearch-h3</artifactId><version>8.19.4</version>
  </dependency></dependencies></dependencyManagement>
  <dependencies>
    <dependency>
      <groupId>org.elasticsearch.distribution.integ-test-zip</groupId><artifactId>elasticsearch</artifactId>
      <version>$version</version><type>zip</type>
    </dependency>
    <dependency>
      <groupId>org.elasticsearch.plugin</groupId><artifactId>x-pack-esql</artifactId><version>$version</version>
    </dependency>
    <dependency>
      <groupId>org.elasticsearch.plugin</groupId><artifactId>x-pack-esql-core</artifactId><version>$version</version>
    </dependency>
  </dependencies>
</project>
EOF
plugin=org.apache.maven.plugins:maven-dependency-plugin:3.6.1
maven() {
    mvn --quiet --batch-mode --strict-checksums -Dstyle.color=never --file "$work/pom.xml" "$@" >&2
}
maven "$plugin:unpack-dependencies" -DincludeTypes=zip -DoutputDirectory="$work/unpacked"
maven "$plugin:copy-dependencies" -DincludeTypes=jar -DoutputDirectory="$work/jars"

home=$work/unpacked/elasticsearch-$version
module() { # name, class, the modules it extends, further lines
    mkdir "$home/modules/$1"
    cat >"$home/modules/$1/plugin-descriptor.properties" <<EOF
name=$1
description=$1, added for tests
version=$version
elasticsearch.version=$version
java.version=17
classname=$2
extended.plugins=$3
${4:-}
EOF
}
module x-pack-kql org.elasticsearch.xpack.kql.KqlPlugin x-pack-core modulename=org.elasticsearch.kql
module x-pack-esql org.elasticsearch.xpack.esql.plugin.EsqlPlugin x-pack-core,x-pack-kql

# The server refuses to start when it finds a class twice: a library that it or an extended module has already, in
# whatever version, is left out.
mv "$work/jars/x-pack-kql-$version.jar" "$work"/jars/antlr4-runtime-*.jar "$home/modules/x-pack-kql"
library() { basename "$1" | sed -E 's/-[0-9][^-]*(-jre)?\.jar$//'; }
for jar in "$home"/lib/*.jar "$home"/modules/x-pack-{core,kql}/*.jar; do
    rm -f "$work/jars/$(library "$jar")"-[0-9]*.jar
done
mv "$work"/jars/*.jar "$home/modules/x-pack-esql"

chmod -R a+rX "$home" # root runs it as somebody else
mv -T "$home" "$made" || [ -d "$made" ] # another run may have been faster
link
echo "tools: assembled Elasticsearch $version" >&2
