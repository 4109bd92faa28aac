package runtimetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// sandboxed is the variable that tells a test process that it is inside.
const sandboxed = "RUNTIMETEST_SANDBOX"

// layerFile is where Lambda has Datadog's extension; its wrapper looks for nothing else.
const layerFile = "/opt/extensions/datadog-agent"

// InSandbox runs the calling test once more, as a process whose file system has the extension's file, and whose network is
// its own: there the extension's ports are free, and nothing else can be reached. It returns true in that process. In the
// outer one it returns false, with the result of the inner one as the test's. The kernel must let this user make
// namespaces; where it does not, the test is skipped, and says so.
func InSandbox(t *testing.T, env ...string) bool {
	t.Helper()
	if os.Getenv(sandboxed) != "" {
		if err := errors.Join(addLayer(), upLoopback()); err != nil {
			t.Fatal(err)
		}
		return true
	}
	if err := sandbox(t, "/proc/self/exe", "-test.run=^$").Run(); err != nil {
		t.Skipf("the kernel does not let this user make user, mount and network namespaces: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(filepath.Dir(layerFile))); err != nil {
		t.Skipf("there is no folder to put the extension's file into: %v", err)
	}
	inner := sandbox(t, "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	inner.Env = append(append(os.Environ(), env...), sandboxed+"=1")
	out, err := inner.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("inside: %v\n%s", err, out)
	}
	return false
}

func sandbox(t *testing.T, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	return cmd
}

// addLayer puts the extension's file where it is on Lambda, for this process and those that it starts.
func addLayer() error {
	folder := filepath.Dir(layerFile)
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to this process: %w", err)
	}
	if err := syscall.Mount("tmpfs", filepath.Dir(folder), "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount a folder for layers: %w", err)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // as on Lambda
		return fmt.Errorf("make the folder of extensions: %w", err)
	}
	return os.WriteFile(layerFile, nil, 0o755) //nolint:gosec // as on Lambda
}

// upLoopback switches the loopback interface on, which a new network has, but down: a message of rtnetlink(7).
func upLoopback() error {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, syscall.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open a netlink socket: %w", err)
	}
	defer syscall.Close(fd) //nolint:errcheck // nothing is kept in it
	const loopback = 1
	message := make([]byte, 0, 32)
	message = binary.NativeEndian.AppendUint32(message, 32)
	message = binary.NativeEndian.AppendUint16(message, syscall.RTM_NEWLINK)
	message = binary.NativeEndian.AppendUint16(message, syscall.NLM_F_REQUEST|syscall.NLM_F_ACK)
	message = append(message, make([]byte, 8)...) // sequence and port
	message = append(message, make([]byte, 4)...) // family and type
	message = binary.NativeEndian.AppendUint32(message, loopback)
	message = binary.NativeEndian.AppendUint32(message, syscall.IFF_UP)
	message = binary.NativeEndian.AppendUint32(message, syscall.IFF_UP)
	if err := syscall.Sendto(fd, message, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return fmt.Errorf("switch the loopback interface on: %w", err)
	}
	answer := make([]byte, 1024)
	n, _, err := syscall.Recvfrom(fd, answer, 0)
	if err != nil || n < 20 {
		return fmt.Errorf("switch the loopback interface on: %d bytes of an answer, %w", n, err)
	}
	if code := int32(binary.NativeEndian.Uint32(answer[16:20])); code != 0 {
		return fmt.Errorf("switch the loopback interface on: %w", syscall.Errno(-code))
	}
	return nil
}
