package check

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// programVariable names the program that reads the configurations.
const programVariable = "CAUSEWAY_BIN"

// root is the directory below which containers have everything that the process reads.
const root = "/etc/causeway"

// causeway runs the program. The error has what it printed.
func causeway(arguments ...string) (string, error) {
	program := os.Getenv(programVariable)
	if program == "" {
		return "", fmt.Errorf("%s must name the program", programVariable)
	}
	output, err := exec.Command(program, arguments...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("causeway %s: %w: %s", strings.Join(arguments, " "), err, output)
	}
	return string(output), err
}

// makeCertificates has the program make the certificates of both ends, in the names that Secrets have them by.
func makeCertificates(dir string) (map[string]files, error) {
	pki := filepath.Join(dir, "pki")
	_, err := causeway("pki", "init", pki, "--link", "fra-to-sin", "--sender", "sender.fra.example", "--receiver", "link.sin.example")
	if err != nil {
		return nil, err
	}
	made, err := readDir(pki)
	if err != nil {
		return nil, err
	}
	of := map[string]files{}
	for _, role := range []string{"sender", "receiver"} {
		of[role] = files{"ca.crt": made["ca.pem"], "tls.crt": made[role+".pem"], "tls.key": made[role+".key"]}
	}
	return of, nil
}

// accepts has the program read a configuration as a container has it. Everything must be right but what only connections
// show, which the names of the examples do not have.
func accepts(mounted files, config string, dir string) error {
	placed := files{}
	for path, content := range mounted {
		if strings.HasSuffix(path, ".toml") {
			content = bytes.ReplaceAll(content, []byte(root), []byte(filepath.Join(dir, root)))
		}
		placed[path] = content
	}
	if err := placed.write(dir); err != nil {
		return err
	}
	said, err := causeway("check", filepath.Join(dir, config))
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		return err
	}
	if !strings.Contains(said, "ok      certificate ") {
		return fmt.Errorf("the certificate is not accepted: %s", said)
	}
	for _, line := range strings.Split(said, "\n") {
		failed, found := strings.CutPrefix(strings.TrimSpace(line), "FAILED ")
		failed = strings.TrimSpace(failed)
		connects := strings.HasPrefix(failed, "source brokers ") || strings.HasPrefix(failed, "target brokers ") ||
			strings.HasPrefix(failed, "receiver ")
		if found && !connects {
			return fmt.Errorf("causeway check: %s", failed)
		}
	}
	return nil
}
