package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"strings"

	cosignatures "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// cosign signs a checkpoint as a new witness does, with a library that others run witnesses with. It returns the witness's
// verifier key and its signature line.
func cosign(file string) (vkey, line string, err error) {
	signed, err := os.ReadFile(file)
	if err != nil {
		return "", "", err
	}
	text, _, found := strings.Cut(string(signed), "\n\n")
	if !found {
		return "", "", fmt.Errorf("%s: not a signed note", file)
	}
	secret, public, err := note.GenerateKey(rand.Reader, "witness.example/go")
	if err != nil {
		return "", "", err
	}
	signer, err := cosignatures.NewSignerForCosignatureV1(secret)
	if err != nil {
		return "", "", err
	}
	cosigned, err := note.Sign(&note.Note{Text: text + "\n"}, signer)
	if err != nil {
		return "", "", err
	}
	if vkey, err = cosignatures.VKeyToCosignatureV1(public); err != nil {
		return "", "", err
	}
	_, line, _ = strings.Cut(string(cosigned), "\n\n")
	return vkey, line, nil
}
