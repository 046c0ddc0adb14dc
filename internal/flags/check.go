package flags

import "strings"

// Prefix is where the store's keys begin.
const Prefix = prefix

// CheckStored says what is wrong with a stored definition; revision is that of its last change.
func CheckStored(key string, value []byte, revision int64) error {
	_, err := decode(strings.TrimPrefix(key, prefix), value, revision)
	return err
}
