package bundle

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"time"
)

// Name is the name of the binary inside the zip. The runtime provided.al2023 starts the file of this name.
const Name = "bootstrap"

// epoch is the time of every file in a zip: the first that the format can say.
var epoch = time.Date(1980, time.January, 1, 0, 0, 0, 0, time.UTC)

// Zip returns a zip that holds one executable file, the binary. Equal binaries make equal zips.
func Zip(binary []byte) ([]byte, error) {
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	w.RegisterCompressor(zip.Deflate, func(to io.Writer) (io.WriteCloser, error) { return flate.NewWriter(to, flate.BestCompression) })
	header := &zip.FileHeader{Name: Name, Method: zip.Deflate, Modified: epoch}
	header.SetMode(0o755)
	file, err := w.CreateHeader(header)
	if err != nil {
		return nil, fmt.Errorf("begin %s: %w", Name, err)
	}
	if _, err := file.Write(binary); err != nil {
		return nil, fmt.Errorf("compress %s: %w", Name, err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("end zip: %w", err)
	}
	return out.Bytes(), nil
}
