package gateway

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"

	"pomodoro.cc/gateway/config"
	"pomodoro.cc/gateway/router"
	"pomodoro.cc/gateway/socket"
)

// Load reads a routes.yaml as a gateway does at its start, at a reload and at a
// takeover: by the rules of config, and by those of the packages that config does
// not know. The error is config.Problems, everything that is wrong; beside the file
// is the text that it was read from.
func Load(path string) (*config.File, []byte, error) {
	return config.Load(path, routable, reachable)
}

// routable says which routes the routing table would refuse.
func routable(file *config.File) (faults []config.Fault) {
	rules := make([]router.Rule[int], len(file.Routes))
	for i, r := range file.Routes {
		rules[i] = router.Rule[int]{Host: r.Host, Path: r.Path, Methods: r.Methods, Headers: r.Headers}
	}
	_, err := router.New(rules)
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	for _, err := range joined.Unwrap() {
		var wrong *router.RuleError
		var clash *router.ConflictError
		switch {
		case errors.As(err, &clash):
			faults = append(faults, config.Fault{
				Path: []any{"routes", clash.Second}, Beside: []any{"routes", clash.First},
				Message: fmt.Sprintf("routes[%d] is for the same place as routes[%d]", clash.Second, clash.First),
			})
		case errors.As(err, &wrong) && wrong.Field != "methods": // of them config asks more
			faults = append(faults, config.Fault{
				Path:    []any{"routes", wrong.Index, wrong.Field, wrong.Header},
				Message: fmt.Sprintf("routes[%d].%s: %s", wrong.Index, wrong.Field, wrong.Why),
			})
		}
	}
	return faults
}

// reachable says which sockets nobody could reach at their path. A default socket's
// is that of state_dir.
func reachable(file *config.File) (faults []config.Fault) {
	if err := socket.Fits(takeoverSocket(file)); err != nil {
		return []config.Fault{{Path: []any{"state_dir"}, Message: fmt.Sprintf("state_dir: %v", err)}}
	}
	err := socket.Fits(file.Admin.Socket)
	switch {
	case err != nil:
	case samePath(file.Admin.Socket, takeoverSocket(file)):
		err = fmt.Errorf("socket %s: that is the takeover's own socket; choose another path", file.Admin.Socket)
	default:
		err = socket.Free(file.Admin.Socket)
		if errors.Is(err, syscall.ENOTDIR) && samePath(filepath.Dir(file.Admin.Socket), file.StateDir) {
			err = nil // config says it of state_dir
		}
	}
	if err != nil {
		faults = append(faults, config.Fault{Path: []any{"admin", "socket"}, Message: fmt.Sprintf("admin.socket: %v", err)})
	}
	return faults
}

func samePath(a, b string) bool {
	x, err := filepath.Abs(a)
	y, err2 := filepath.Abs(b)
	return err == nil && err2 == nil && x == y
}
