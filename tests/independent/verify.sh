#!/usr/bin/env bash
# verify.sh ARCHIVE_LOG_DIR VKEY_FILE [TSA_CA_FILE]: checks one log of a sealed archive, by section 8 of docs/SEALED_ARCHIVE.md.
#
# For those who trust nobody's program: written from that page alone, it shares no code with nmap-forwarder and needs only
# bash (4.4 or newer), openssl (3.0 or newer, for Ed25519), zstd, jq, xxd, grep, diffutils (cmp), findutils and coreutils.
# It starts a few programs for each record and each tile: expect a second for every 300 records or so.
#
#   ARCHIVE_LOG_DIR  <archive>/<origin>, the directory that holds batches/, checkpoints/, records/ ...
#   VKEY_FILE        the log's verifier key, <name>+<key id>+<base64>, the first one if the log has changed keys. It must not
#                    come from the archive itself.
#   TSA_CA_FILE      certificate (PEM) that all time-stamps in the log must lead to; without it, these are not verified.
#
# Prints a line for each problem. Exit status: 0 verified, 1 problems found, 2 wrong usage, 3 no batches at all.
# Section 8 does not ask whether records are canonical JSON and keep the limits of section 3: that is not checked.
set -euo pipefail
export LC_ALL=C # bytes, not characters: lengths, patterns and order must not depend on the reader's language

(($# == 2 || $# == 3)) && [[ -r $2 && -r ${3:-$2} ]] ||
  { echo "usage: verify.sh ARCHIVE_LOG_DIR VKEY_FILE [TSA_CA_FILE]" >&2; exit 2; }
log=${1%/} tsa=${3-} problems=0 work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

# Names and values come from the archive: whatever is not printable could play tricks with a terminal.
problem() { printf '%s\n' "${*//[^[:print:]]/?}"; problems=$((problems + 1)); }
same() { [[ $3 == "$4" ]] || { problem "$1: $2: expected $3 found $4"; return 1; }; }

# Every file that belongs to the archive is asked for with `present`, which tells in the end what should not be there.
# Links are refused: what they point to can be outside of the archive.
declare -A known
present() { # WHERE PATH
  known[$2]=1
  [[ -f $log/$2 && ! -L $log/$2 ]] || { problem "$1: $2 is missing or not a regular file"; return 1; }
}

# Hashes are kept as hex. These leave their result in REPLY, which saves a process for each call.
sha_hex() { REPLY=$(xxd -r -p <<<"$1" | sha256sum); REPLY=${REPLY:0:64}; }
sha_file() { REPLY=$(sha256sum <"$1"); REPLY=${REPLY:0:64}; }
leaf_hash() { REPLY=$(printf '\0%s' "$1" | sha256sum); REPLY=${REPLY:0:64}; }

# The Merkle tree hash (section 3). A growing tree keeps most of its nodes, so they are remembered.
declare -A nodes
mth() { # HASH...
  (($# > 1)) || { REPLY=${1-no leaves}; return; }
  local k=1 pair
  while ((k * 2 < $#)); do k=$((k * 2)); done
  mth "${@:1:k}"; pair=$REPLY
  mth "${@:k+1}"; pair+=$REPLY
  [[ -n ${nodes[$pair]-} ]] || { sha_hex "01$pair"; nodes[$pair]=$REPLY; }
  REPLY=${nodes[$pair]}
}

# The key (section 7). A log can change keys: then the one that is given is its first, and the log itself tells the others.
read_key() { # VKEY: true when it is one; leaves its key id in REPLY and the key, for openssl, in $work/<key id>.der
  local name=${1%%+*} id=${1#*+} key
  id=${id%%+*}
  key=$(base64 -d <<<"${1#*+*+}" 2>/dev/null | xxd -p -c 64) || true
  sha_hex "$(printf '%s\n' "$name" | xxd -p | tr -d '\n')$key"
  [[ $key =~ ^01[0-9a-f]{64}$ && $id == "${REPLY:0:8}" && $name =~ ^[a-z0-9._-]+(/[a-z0-9._-]+)*$ && ! /$name/ =~ /\.\.?/ &&
    $1 == "$name+$id+$(xxd -r -p <<<"$key" | base64 -w 0)" ]] || return 1
  xxd -r -p <<<"302a300506032b6570032100${key:2}" >"$work/$id.der"
  REPLY=$id
}
IFS= read -r vkey <"$2" || true
origin=${vkey%%+*}
read_key "$vkey" || { problem "key: no Ed25519 verifier key, or its name or key id is wrong"; exit 1; }
signers=("$REPLY") # key ids of those who must have signed the next checkpoint

# Step 1: the manifest (section 5). jq prints a line for each thing that is wrong. A member that is there twice or a number
# written in another way, which jq does not show, makes the bytes differ from canonical JSON (what jq -cSj writes is just that
# for printable text and for integers below 2^53).
rules='
  def need(condition; $what): if (try condition catch false) then empty else $what end;
  def like($pattern): type == "string" and test("\\A(?:" + $pattern + ")\\z");
  def is($kind): if $kind == "int" then type == "number" and (tostring | like("0|[1-9][0-9]{0,15}"))
    elif $kind == "sha" then like("[0-9a-f]{64}")
    elif $kind == "time" then
      like("[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3])(:[0-5][0-9]){2}[.][0-9]{3}Z")
    else type == $kind end;
  def fits($members): . as $object |
    keys == ($members | keys) and all(keys[]; . as $name | $object[$name] | is($members[$name]));
  if length != 1 then "is not one JSON value" else .[0] |
    need(fits({format: "string", type: "string", origin: "string", sequence: "int", previous: "sha", created: "time",
      software: "string", first_record: "int", records: "object", evidence: "array"} +
      if .type == "key" then {key: "object"} else {} end); "members or their types"),
    need(.format == "nmap-forwarder/manifest/v1"; "format"), need(.origin == $origin; "origin"),
    need(.sequence == $sequence; "sequence"), need(.previous == $previous; "previous: expected \($previous)"),
    need($first == null or .first_record == $first; "first_record: expected \($first)"),
    need((.type == "records" and .records.count > 0) or
      ((.type == "heartbeat" or .type == "key") and .records.count == 0 and .evidence == []);
      "type, or not the records or evidence of that type"),
    need(.type != "key" or .key.old != .key.new and (.sequence as $sequence | .key |
      (fits({action: "string", old: "string", new: "string"}) and .action == "rotate") or
      (.action == "revoke" and .trusted_size <= $sequence and fits({action: "string", old: "string", new: "string",
        trusted_size: "int"} + if has("since") then {since: "time"} else {} end))); "change of keys"),
    need((.records | fits({count: "int", root: "sha"})) and .records.count == 0 and
        .records.root == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
      or (.records | fits({count: "int", root: "sha", raw_bytes: "int", raw_sha256: "sha", stored_bytes: "int",
        stored_sha256: "sha", leaves_sha256: "sha", earliest: "time", latest: "time"})); "records"),
    (.evidence[]? | need(.kind == "nmap-xml" and
      (fits({kind: "string", rule: "string", raw_bytes: "int", raw_sha256: "sha"}) and .rule == "hash-only"
      or fits({kind: "string", rule: "string", raw_bytes: "int", raw_sha256: "sha", stored_bytes: "int",
        stored_sha256: "sha"}) and .rule == "full"); "evidence"))
  end'
check_manifest() { # N: true when the manifest can be worked with
  local line found=0
  while IFS= read -r line; do problem "batch $1: manifest: $line"; found=1; done < <(
    jq -rs --arg origin "$origin" --argjson sequence "$1" --arg previous "$previous" --argjson first "$first_record" \
      "$rules" "$log/$manifest" 2>/dev/null || echo "is not JSON"
    jq -cSj . "$log/$manifest" 2>/dev/null | cmp -s - "$log/$manifest" || echo "is not canonical JSON")
  ((found == 0))
}

# Step 2: the checkpoint (section 7). The signature is checked over the text that must be there, not the one that is.
check_checkpoint() { # SIZE ROOT
  local path where="checkpoint $1" bytes lines line who sig hex id signed=''
  printf -v path 'checkpoints/%020d' "$1"
  present "$where" "$path" || return 0
  printf '%s\n%s\n%s\n' "$origin" "$1" "$(xxd -r -p <<<"$2" | base64 -w 0)" >"$work/text"
  bytes=$(stat -c %s "$work/text")
  head -c "$bytes" "$log/$path" >"$work/found"
  tail -c "+$((bytes + 1))" "$log/$path" >"$work/rest"
  same "$where" text "$(<"$work/text")" "$(tr '\0' '?' <"$work/found")" || return 0
  mapfile -t lines <"$work/rest"
  # bash drops NULs and forgives a missing LF at the end: what it has read must be what is there
  printf '%s\n' "${lines[@]}" | cmp -s - "$work/rest" && [[ -z ${lines[0]} ]] || { problem "$where: malformed"; return 0; }
  for line in "${lines[@]:1}"; do
    who=${line#— } who=${who% *} sig=${line##* }
    hex=$(base64 -d <<<"$sig" 2>/dev/null | xxd -p -c 256 | tr -d '\n') || true
    [[ $line == "— $who $sig" && -n $who && $who != *[[:space:]+]* && $(xxd -r -p <<<"$hex" | base64 -w 0) == "$sig" ]] ||
      { problem "$where: malformed signature line"; continue; }
    id=${hex:0:8}
    [[ $who == "$origin" && " ${signers[*]} " == *" $id "* ]] || continue # another key's
    xxd -r -p <<<"${hex:8}" >"$work/sig"
    [[ $signed != *"<$id>"* ]] && openssl pkeyutl -verify -pubin -keyform DER -inkey "$work/$id.der" -rawin \
      -in "$work/text" -sigfile "$work/sig" >/dev/null 2>&1 || problem "$where: the signature of $id is wrong, or one of two"
    signed+="<$id>"
  done
  for id in "${signers[@]}"; do [[ $signed == *"<$id>"* ]] || problem "$where: no signature of the key $id"; done
}

# Step 3: the tiles (section 6). entry[L/I] is entry I of tile level L, framed[I] leaf line I with its length, all in hex.
declare -A entry
framed=()
check_tile() { # SIZE PATH HEX
  present "size $1" "$2" || return 0
  xxd -r -p <<<"$3" | cmp -s - "$log/$2" || problem "size $1: $2 has other bytes than follow from the manifests"
}
check_tiles() { # SIZE
  local s=$1 level tile width name rest i hashes
  for ((level = 0; s > 0; level++, s /= 256)); do
    tile=$(((s - 1) / 256)) width=$(((s - 1) % 256 + 1)) hashes=()
    printf -v name '%03d' $((tile % 1000))
    for ((rest = tile / 1000; rest > 0; rest /= 1000)); do printf -v name 'x%03d/%s' $((rest % 1000)) "$name"; done
    ((width == 256)) || name+=.p/$width
    for ((i = tile * 256; i < tile * 256 + width; i++)); do hashes+=("${entry[$level/$i]}"); done
    check_tile "$1" "tile/$level/$name" "$(printf %s "${hashes[@]}")"
    ((level > 0)) || check_tile "$1" "tile/entries/$name" "$(printf %s "${framed[@]:tile*256:width}")"
    ((width == 256)) || break
    mth "${hashes[@]}"; entry[$((level + 1))/$tile]=$REPLY
  done
}

# A change of keys (section 7): the old one and the new one sign this checkpoint, the new one all later ones
change_keys() { # N
  local path old new
  read -r old new < <(jq -r '.key | "\(.old) \(.new)"' "$log/$manifest")
  printf -v path 'keys/%020d.vkey' "$1"
  [[ $old == "$vkey" && ${new%%+*} == "$origin" ]] && read_key "$new" || { problem "batch $1: wrong keys"; return 0; }
  signers=("${signers[@]: -1}" "$REPLY") vkey=$new
  present "batch $1" "$path" || return 0
  printf '%s\n' "$new" | cmp -s - "$log/$path" || problem "$path: is not the key of batch $1"
}

# Steps 4 and 5: records and evidence (sections 3 and 4)
check_object() { # WHERE PATH STORED_BYTES STORED_SHA256 RAW_BYTES RAW_SHA256: leaves the decompressed bytes in $work/raw
  local file=$log/$2 frames
  present "$1" "$2" || return 1
  same "$1" stored_bytes "$3" "$(stat -c %s "$file")" || return 1
  sha_file "$file"; same "$1" stored_sha256 "$4" "$REPLY" || return 1
  # `zstd -d` takes several frames, skippable frames and frames without checksum without a word
  frames=$(zstd -lv -- "$file" 2>/dev/null) && grep -q '^# Zstandard Frames: 1$' <<<"$frames" &&
    ! grep -qi skippable <<<"$frames" && grep -q '^Check: XXH64' <<<"$frames" ||
    { problem "$1: is not one zstd frame with a content checksum and nothing after it"; return 1; }
  # one byte more than expected is enough to know: a small file can decompress to a disk full of bytes
  zstd -qdc -- "$file" 2>/dev/null | head -c "$(($5 + 1))" >"$work/raw" ||
    { problem "$1: does not decompress to raw_bytes"; return 1; }
  same "$1" raw_bytes "$5" "$(stat -c %s "$work/raw")" || return 1
  sha_file "$work/raw"; same "$1" raw_sha256 "$6" "$REPLY"
}
check_records() { # N COUNT ROOT RAW_BYTES RAW_SHA256 STORED_BYTES STORED_SHA256 LEAVES_SHA256 EARLIEST LATEST
  local where="batch $1: records object" path=records/$8.leaves hashes=() stored low='' high='' line i
  local begin='^\{"@timestamp":"([0-9]{4}(-[0-9]{2}){2}T([0-9]{2}:){2}[0-9]{2}\.[0-9]{3}Z)"[,}]'
  if check_object "$where" "records/$7.ndjson.zst" "$6" "$7" "$4" "$5"; then
    while IFS= read -r line || [[ -n $line ]]; do
      leaf_hash "$line"; hashes+=("$REPLY")
      [[ $line =~ $begin ]] || { problem "batch $1: record $((${#hashes[@]} - 1)): does not begin with @timestamp"; continue; }
      [[ -n $low && ! ${BASH_REMATCH[1]} < $low ]] || low=${BASH_REMATCH[1]}
      [[ ! ${BASH_REMATCH[1]} > $high ]] || high=${BASH_REMATCH[1]}
    done <"$work/raw"
    # bash drops NULs: a record with one would have been hashed without it
    tr -d '\0\r' <"$work/raw" | cmp -s - "$work/raw" || problem "$where: a line contains NUL or CR"
    [[ $(tail -c 1 "$work/raw" | xxd -p) == 0a ]] || problem "$where: does not end with LF"
    mth "${hashes[@]}"
    same "$where" count "$2" "${#hashes[@]}" || true
    same "$where" root "$3" "$REPLY" || true
    same "$where" earliest "$9" "$low" || true
    same "$where" latest "${10}" "$high" || true
  fi
  present "batch $1: leaf object" "$path" || return 0
  sha_file "$log/$path"; same "batch $1: leaf object" leaves_sha256 "$8" "$REPLY" || true
  same "batch $1: leaf object" size "$(($2 * 32))" "$(stat -c %s "$log/$path")" || true
  mapfile -t stored < <(xxd -p -c 32 "$log/$path")
  for ((i = 0; i < ${#hashes[@]}; i++)); do # names the changed record; without readable records there are none
    same "batch $1: record $i" "leaf in the leaf object" "${hashes[i]}" "${stored[i]-none}" || true
  done
}

# What third parties say (section 13): cosignatures are not verified, time-stamps if an authority's certificate was given
check_third() { # PATH
  local size name
  size=${1#*/} size=${size%%/*} name=${1##*/}
  [[ $1 =~ ^(timestamps/[0-9]{20}/[0-9a-f]{64}\.tsr|cosignatures/[0-9]{20}/[0-9a-f]{64})$ && -f $log/$1 && ! -L $log/$1 &&
    ! $size =~ ^0+$ && 10#$size -le $n ]] || { problem "$1: is about no checkpoint that is there"; return 0; }
  sha_file "$log/$1"; same "$1" "hash in its name" "${name%.tsr}" "$REPLY" || return 0
  [[ $1 != timestamps/* || -z $tsa ]] ||
    openssl ts -verify -in "$log/$1" -data "$log/checkpoints/$size" -CAfile "$tsa" >/dev/null 2>&1 ||
    problem "$1: is no time-stamp of that authority over checkpoint $size"
}

leaves=() records=0 first_record=0
printf -v previous '%064d' 0
for ((n = 0; ; n++)); do
  printf -v manifest 'batches/%020d/manifest.json' "$n"
  [[ -e $log/$manifest || -L $log/$manifest ]] && present "batch $n" "$manifest" || break
  check_manifest "$n" && usable=1 || usable=0
  sha_file "$log/$manifest"; previous=$REPLY
  line="nmap-forwarder/batch/v1 $n $previous"
  leaf_hash "$line"; leaves+=("$REPLY") entry[0/$n]=$REPLY
  framed+=("$(printf '%04x' ${#line}; printf %s "$line" | xxd -p | tr -d '\n')")
  mth "${leaves[@]}"; root=$REPLY
  signers=("${signers[@]: -1}")
  ((! usable)) || [[ $(jq -r .type "$log/$manifest") != key ]] || change_keys "$n"
  check_checkpoint $((n + 1)) "$root"
  check_tiles $((n + 1))
  ((usable)) || { first_record=null; continue; } # the next one has nothing to be compared with
  read -r first_record count values < <(jq -r '[.first_record, (.records | .count, .root, .raw_bytes, .raw_sha256,
    .stored_bytes, .stored_sha256, .leaves_sha256, .earliest, .latest) | values] | join(" ")' "$log/$manifest")
  first_record=$((first_record + count)) records=$((records + count))
  # shellcheck disable=SC2086 # several words; check_manifest has seen that they are hashes, sizes and times
  ((count == 0)) || check_records "$n" "$count" $values
  while read -r i hash values; do
    # shellcheck disable=SC2086
    check_object "batch $n: evidence $i" "evidence/$hash.zst" $values || true
  done < <(jq -r '.evidence | to_entries[] | "\(.key) " + (.value | select(.rule == "full") |
    "\(.stored_sha256) \(.stored_bytes) \(.stored_sha256) \(.raw_bytes) \(.raw_sha256)")' "$log/$manifest")
done

# Step 6: `checkpoint` is one of checkpoints/, best the newest
if ((n > 0)) && present checkpoint checkpoint; then
  for path in "$log"/checkpoints/*; do ! cmp -s "$path" "$log/checkpoint" || break; done
  cmp -s "$path" "$log/checkpoint" || problem "checkpoint: is none of checkpoints/"
fi
# Step 7, and what is left of steps 1 and 2: nothing else is there
gap=0
[[ ! -d $log ]] || while IFS= read -r -d '' path; do
  [[ -z ${known[$path]-} && $path != *.part ]] || continue
  case $path in
    batches/*/manifest.json) problem "$path: a manifest behind a gap: batch $n is missing"; gap=1 ;;
    checkpoints/*) problem "$path: a checkpoint beyond the number of manifests, $n" ;;
    timestamps/*/*.tsr | cosignatures/*/*) check_third "$path" ;;
    records/* | evidence/*) problem "$path: no well-formed manifest refers to it" ;;
    *) problem "$path: does not belong to the archive" ;;
  esac
done < <(find "$log/" -mindepth 1 ! -type d -printf '%P\0')

((n > 0 || gap)) || { echo "no batches: nothing was verified"; exit 3; }
((problems == 0)) || { echo "NOT verified: $problems problems, $n batches"; exit 1; }
echo "verified: $n batches, $records records, root $root"
