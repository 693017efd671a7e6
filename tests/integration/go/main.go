// Command tlogcheck checks the log of a sealed archive with the packages note and tlog of the Go project, which share no
// code with nmap-forwarder. It was written from docs/SEALED_ARCHIVE.md alone.
//
//	tlogcheck LOG_DIR VKEY_FILE
//	tlogcheck -proof PROOF_FILE VKEY_FILE
//
// LOG_DIR is <archive>/<origin>. Every manifest's hash becomes a leaf; every checkpoint has to be signed, and every root,
// tile, entry bundle and proof has to be what these packages make of the leaves. Records and evidence are not read.
//
// VKEY_FILE holds the log's first key; where the log has changed keys, it tells the others. Changes of keys are followed.
//
// It prints "ok: size N root <base64>" and exits 0, or prints the first problem and exits 1. The proof of one record is
// checked by proof.go.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	tileHeight = 8
	// maxProofs bounds the sizes and leaves that are proved: all of them up to this, evenly spread ones beyond.
	maxProofs = 300
)

func main() {
	if len(os.Args) == 4 && os.Args[1] == "-proof" {
		what, err := checkProof(os.Args[2], os.Args[3])
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("ok:", what)
		return
	}
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: tlogcheck LOG_DIR VKEY_FILE, or tlogcheck -proof PROOF_FILE VKEY_FILE")
		os.Exit(2)
	}
	size, root, err := check(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Printf("ok: size %d root %s\n", size, root)
}

func check(dir, vkeyFile string) (size int64, root tlog.Hash, err error) {
	verifier, err := readKey(vkeyFile)
	if err != nil {
		return 0, root, err
	}
	lines, changes, err := readLeaves(dir)
	if err != nil {
		return 0, root, err
	}

	var stored hashes
	roots := make([]tlog.Hash, len(lines)+1) // roots[n] is the root of the first n leaves
	for i, line := range lines {
		add, err := tlog.StoredHashes(int64(i), line, stored)
		if err != nil {
			return 0, root, fmt.Errorf("batch %d: %w", i, err)
		}
		stored = append(stored, add...)
		size = int64(i) + 1
		if roots[size], err = tlog.TreeHash(size, stored); err != nil {
			return 0, root, fmt.Errorf("size %d: %w", size, err)
		}
		if err := checkCheckpoint(dir, verifier, size, roots[size]); err != nil {
			return 0, root, err
		}
		if change, ok := changes[size]; ok { // the new key signs this checkpoint, too, and all later ones alone
			if change.Old != verifier.text {
				return 0, root, fmt.Errorf("batch %d: changes from another key than the one in force", i)
			}
			if verifier, err = newKey(change.New); err != nil {
				return 0, root, fmt.Errorf("batch %d: %w", i, err)
			}
			if err := checkCheckpoint(dir, verifier, size, roots[size]); err != nil {
				return 0, root, err
			}
		}
		if err := checkTiles(dir, size, lines, stored); err != nil {
			return 0, root, err
		}
	}
	if err := checkNumber(filepath.Join(dir, "checkpoints"), len(lines)); err != nil {
		return 0, root, err
	}
	return size, roots[size], checkProofs(lines, roots, stored)
}

// key is a verifier that knows what it was made from.
type key struct {
	note.Verifier
	text string
}

func newKey(text string) (key, error) {
	verifier, err := note.NewVerifier(text)
	return key{verifier, text}, err
}

func readKey(file string) (key, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return key{}, err
	}
	k, err := newKey(strings.TrimSuffix(string(text), "\n"))
	if err != nil {
		return k, fmt.Errorf("%s: %w", file, err)
	}
	return k, nil
}

// hashes is what tlog.StoredHashes returned so far, in the order in which tlog numbers them.
type hashes []tlog.Hash

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if x < 0 || x >= int64(len(h)) {
			return nil, fmt.Errorf("tlog asks for hash %d of %d", x, len(h))
		}
		out[i] = h[x]
	}
	return out, nil
}

// change is what the manifest of a batch of type key says.
type change struct{ Old, New string }

// readLeaves returns the log's leaf lines, made from the manifests, and the changes of keys by the size that they bring.
func readLeaves(dir string) ([][]byte, map[int64]change, error) {
	var lines [][]byte
	changes := make(map[int64]change)
	for {
		manifest, err := os.ReadFile(filepath.Join(dir, "batches", fmt.Sprintf("%020d", len(lines)), "manifest.json"))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		lines = append(lines, fmt.Appendf(nil, "nmap-forwarder/batch/v1 %d %x", len(lines), sha256.Sum256(manifest)))
		var batch struct {
			Type string
			Key  change
		}
		// what is no JSON is no change of keys, and found by its hash
		if json.Unmarshal(manifest, &batch) == nil && batch.Type == "key" {
			changes[int64(len(lines))] = batch.Key
		}
	}
	if len(lines) == 0 {
		return nil, nil, fmt.Errorf("%s: no batch 0: nothing to check", dir)
	}
	return lines, changes, checkNumber(filepath.Join(dir, "batches"), len(lines))
}

// checkNumber tells whether dir has n entries. The n that belong there were read, so any other is behind a gap or foreign.
func checkNumber(dir string, n int) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".part") { // being written when a machine stopped; not part of the archive
			continue
		}
		if n--; n < 0 {
			return fmt.Errorf("%s: %s is behind a gap, or does not belong there", dir, entry.Name())
		}
	}
	return nil
}

// checkCheckpoint opens the checkpoint of a size. tlog.ParseTree reads another form of checkpoint (its first line is
// "go.sum database tree"), so the text is compared with the one that has to be there.
func checkCheckpoint(dir string, verifier note.Verifier, size int64, root tlog.Hash) error {
	name := filepath.Join("checkpoints", fmt.Sprintf("%020d", size))
	msg, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	n, err := note.Open(msg, note.VerifierList(verifier))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	// note decodes base64 leniently, so two byte sequences could stand for one signature.
	for _, sig := range append(n.Sigs, n.UnverifiedSigs...) {
		if _, err := base64.StdEncoding.Strict().DecodeString(sig.Base64); err != nil {
			return fmt.Errorf("%s: signature of %s: %w", name, sig.Name, err)
		}
	}
	lines := strings.Split(n.Text, "\n")
	switch {
	case len(lines) != 4 || lines[3] != "":
		return fmt.Errorf("%s: the text has not three lines: %q", name, n.Text)
	case lines[0] != verifier.Name():
		return fmt.Errorf("%s: origin: expected %q found %q", name, verifier.Name(), lines[0])
	case lines[1] != fmt.Sprint(size):
		return fmt.Errorf("%s: size: expected %d found %q", name, size, lines[1])
	case lines[2] != base64.StdEncoding.EncodeToString(root[:]):
		return fmt.Errorf("%s: root: expected %v found %q", name, root, lines[2])
	}
	return nil
}

// checkTiles checks the tiles and entry bundles that were written when the log grew to size. tlog says which these are and
// what is in them; only the names differ (tlog's own have the tile height in them and call entry bundles "data").
func checkTiles(dir string, size int64, lines [][]byte, stored hashes) error {
	for _, tile := range tlog.NewTiles(tileHeight, size-1, size) {
		want, err := tlog.ReadTileData(tile, stored)
		if err != nil {
			return fmt.Errorf("size %d: %v: %w", size, tile, err)
		}
		if err := checkBytes(dir, filepath.Join("tile", fmt.Sprint(tile.L), tileName(tile)), want); err != nil {
			return err
		}
		if tile.L > 0 {
			continue
		}
		var bundle []byte
		start := tile.N << tileHeight
		for _, line := range lines[start : start+int64(tile.W)] {
			bundle = append(binary.BigEndian.AppendUint16(bundle, uint16(len(line))), line...)
		}
		if err := checkBytes(dir, filepath.Join("tile", "entries", tileName(tile)), bundle); err != nil {
			return err
		}
	}
	return nil
}

func checkBytes(dir, name string, want []byte) error {
	found, err := os.ReadFile(filepath.Join(dir, name))
	if err == nil && !bytes.Equal(found, want) {
		err = fmt.Errorf("%s: has other bytes than follow from the manifests", name)
	}
	return err
}

// tileName is a tile's name within its level, as in C2SP tlog-tiles: 1234067 is x001/x234/067.
func tileName(tile tlog.Tile) string {
	name := fmt.Sprintf("%03d", tile.N%1000)
	for n := tile.N / 1000; n > 0; n /= 1000 {
		name = fmt.Sprintf("x%03d/%s", n%1000, name)
	}
	if tile.W < 1<<tileHeight {
		name += fmt.Sprintf(".p/%d", tile.W)
	}
	return name
}

// checkProofs proves that leaves are in the newest tree, and that older trees are its beginning.
func checkProofs(lines [][]byte, roots []tlog.Hash, stored hashes) error {
	size := int64(len(lines))
	for _, i := range spread(size) {
		leaf, err := tlog.ProveRecord(size, i, stored)
		if err == nil {
			err = tlog.CheckRecord(leaf, size, roots[size], i, tlog.RecordHash(lines[i]))
		}
		if err != nil {
			return fmt.Errorf("batch %d: inclusion in size %d: %w", i, size, err)
		}
		tree, err := tlog.ProveTree(size, i+1, stored)
		if err == nil {
			err = tlog.CheckTree(tree, size, roots[size], i+1, roots[i+1])
		}
		if err != nil {
			return fmt.Errorf("size %d: consistency with size %d: %w", i+1, size, err)
		}
	}
	return nil
}

// spread returns 0 … n-1, or maxProofs of these, among them the first and the last.
func spread(n int64) []int64 {
	var out []int64
	for i := range min(n, maxProofs) {
		if n > maxProofs {
			i = i * (n - 1) / (maxProofs - 1)
		}
		out = append(out, i)
	}
	return out
}
