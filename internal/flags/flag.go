package flags

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/gatekeeper-engine/gatekeeper"
)

// The limits of flags.
const (
	MaxFlags    = 10000 // in one store
	MaxVariants = 32    // of one flag
	MaxValue    = 4096  // bytes of a string value
	MaxAllow    = 1000  // targeting keys on one allow-list
	MaxKey      = 256   // bytes of a targeting key on an allow-list
)

// Flag is the definition of a feature flag. While it is enabled, a targeting key on the
// allow-list, or within the percentage, gets the variant On; everybody else gets Off.
type Flag struct {
	Key         string         `json:"key"`
	Description string         `json:"description,omitempty"`
	Variants    map[string]any `json:"variants"`          // name to value: all boolean or all string; default {"on": true, "off": false}
	Enabled     bool           `json:"enabled"`           // false: everybody gets Off
	On          string         `json:"on"`                // default "on"
	Off         string         `json:"off"`               // default "off"
	Percentage  float64        `json:"percentage"`        // of targeting keys that get On, from 0 to 100
	Allow       []string       `json:"allow,omitempty"`   // targeting keys that get On whatever the percentage
	Version     int64          `json:"version,omitempty"` // of the definition; rises with each change, by more than one
}

// Reason says why an evaluation gave its variant, in OpenFeature's words.
type Reason string

// The reasons of evaluations (OpenFeature specification, types, resolution reason).
const (
	ReasonDisabled  Reason = "DISABLED"        // the flag is not enabled
	ReasonTargeting Reason = "TARGETING_MATCH" // the targeting key is on the allow-list
	ReasonSplit     Reason = "SPLIT"           // the percentage decided
	ReasonStatic    Reason = "STATIC"          // everybody gets the same
)

// ErrorCode says why an evaluation gave nothing, in OpenFeature's words.
type ErrorCode string

// The error codes of evaluations (OpenFeature specification, types, error code).
const (
	ErrorNotFound     ErrorCode = "FLAG_NOT_FOUND"
	ErrorNoKey        ErrorCode = "TARGETING_KEY_MISSING"
	ErrorParse        ErrorCode = "PARSE_ERROR"
	ErrorContext      ErrorCode = "INVALID_CONTEXT"
	errorDetailsNoKey           = "the flag is on for a percentage of targeting keys, and the context has no targetingKey"
)

// Context is whom a flag is evaluated for.
type Context struct {
	TargetingKey string // such as a user's or a session's id; may be empty
}

// Evaluation is a flag's answer. Either Error is empty or Value, Variant and Reason are.
type Evaluation struct {
	Key     string
	Value   any // boolean or string
	Variant string
	Reason  Reason
	Version int64
	Error   ErrorCode
	Details string // of the error, for people
}

// definition is a flag made ready for evaluation. It is never changed.
type definition struct {
	flag  Flag
	allow map[string]struct{}
}

func define(f Flag) *definition {
	d := &definition{flag: f, allow: make(map[string]struct{}, len(f.Allow))}
	for _, key := range f.Allow {
		d.allow[key] = struct{}{}
	}
	return d
}

func (d *definition) evaluate(c Context) Evaluation {
	f := &d.flag
	if !f.Enabled {
		return d.give(f.Off, ReasonDisabled)
	}
	if _, ok := d.allow[c.TargetingKey]; ok && c.TargetingKey != "" {
		return d.give(f.On, ReasonTargeting)
	}
	switch {
	case f.Percentage >= 100:
		return d.give(f.On, ReasonStatic)
	case f.Percentage <= 0:
		return d.give(f.Off, ReasonStatic)
	case c.TargetingKey == "":
		return Evaluation{Key: f.Key, Error: ErrorNoKey, Details: errorDetailsNoKey}
	case bucket(f.Key, c.TargetingKey) < f.Percentage:
		return d.give(f.On, ReasonSplit)
	}
	return d.give(f.Off, ReasonSplit)
}

func (d *definition) give(variant string, reason Reason) Evaluation {
	return Evaluation{Key: d.flag.Key, Value: d.flag.Variants[variant], Variant: variant, Reason: reason, Version: d.flag.Version}
}

// bucket places a targeting key in [0, 100): evenly, always at the same place for one flag, and
// independently for another, since the flag's key is the salt. So a growing percentage only ever
// adds targeting keys.
func bucket(flag, targetingKey string) float64 {
	var stack [128]byte
	text := append(stack[:0], flag...)
	text = append(text, 0)
	sum := sha256.Sum256(append(text, targetingKey...))
	return float64(binary.BigEndian.Uint64(sum[:8])>>11) / (1 << 53) * 100
}

var (
	keyForm     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`)
	variantForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
)

// complete fills the defaults in and checks the definition.
func (f Flag) complete() (Flag, error) {
	if len(f.Variants) == 0 {
		f.Variants = map[string]any{"on": true, "off": false}
	}
	if f.On == "" {
		f.On = "on"
	}
	if f.Off == "" {
		f.Off = "off"
	}
	f.Variants, f.Allow = maps.Clone(f.Variants), slices.Clone(f.Allow)
	if err := f.validate(); err != nil {
		return Flag{}, gatekeeper.Errorf(gatekeeper.CodeInvalid, "Correct the flag's definition.", "flag %q: %w", f.Key, err)
	}
	return f, nil
}

func (f Flag) validate() error {
	if !keyForm.MatchString(f.Key) {
		return fmt.Errorf("a flag's key has 1 to 128 of the characters A-Z a-z 0-9 . _ : - and begins with a letter or digit")
	}
	if len(f.Description) > MaxValue {
		return fmt.Errorf("a description of %d bytes is too long: at most %d", len(f.Description), MaxValue)
	}
	if err := f.validateVariants(); err != nil {
		return err
	}
	for _, v := range []string{f.On, f.Off} {
		if _, ok := f.Variants[v]; !ok {
			return fmt.Errorf("there is no variant %q, only %q", v, slices.Sorted(maps.Keys(f.Variants)))
		}
	}
	if !(f.Percentage >= 0 && f.Percentage <= 100) {
		return fmt.Errorf("percentage %v: want 0 to 100", f.Percentage)
	}
	if len(f.Allow) > MaxAllow {
		return fmt.Errorf("an allow-list of %d targeting keys is too long: at most %d", len(f.Allow), MaxAllow)
	}
	for _, key := range f.Allow {
		if key == "" || len(key) > MaxKey {
			return fmt.Errorf("a targeting key on the allow-list has 1 to %d bytes, not %d", MaxKey, len(key))
		}
	}
	return nil
}

func (f Flag) validateVariants() error {
	if len(f.Variants) > MaxVariants {
		return fmt.Errorf("%d variants are too many: at most %d", len(f.Variants), MaxVariants)
	}
	booleans := 0
	for _, name := range slices.Sorted(maps.Keys(f.Variants)) {
		if !variantForm.MatchString(name) {
			return fmt.Errorf("variant %q: a name has 1 to 64 of the characters A-Z a-z 0-9 . _ - and begins with a letter or digit", name)
		}
		switch v := f.Variants[name].(type) {
		case bool:
			booleans++
		case string:
			if len(v) > MaxValue {
				return fmt.Errorf("variant %q: a value of %d bytes is too long: at most %d", name, len(v), MaxValue)
			}
		default:
			return fmt.Errorf("variant %q: values other than booleans and strings are not supported yet", name)
		}
	}
	if booleans != 0 && booleans != len(f.Variants) {
		return fmt.Errorf("its variants are partly booleans and partly strings: want one type")
	}
	return nil
}

// clone gives a flag that shares nothing with f.
func (f Flag) clone() Flag {
	f.Variants, f.Allow = maps.Clone(f.Variants), slices.Clone(f.Allow)
	return f
}
