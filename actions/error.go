package actions

import "errors"

// ErrNoEffect marks an error of Apply that certainly changed nothing: the connection was refused,
// the request was rejected, the precondition did not hold. Wrap it only when that is sure.
var ErrNoEffect = errors.New("nothing was changed")
