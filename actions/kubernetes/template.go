package kubernetes

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// hashLabel is what a Deployment's controller adds to the template of each ReplicaSet.
const hashLabel = "pod-template-hash"

// template is a pod template in canonical form: JSON with sorted keys, without nulls and without
// what controllers add to the copies that they keep. Equal bytes are equal templates.
type template []byte

// templateOf makes a template of what a server gave; found may be changed.
func templateOf(found map[string]any) (template, error) {
	delete(found, "$patch") // of a ControllerRevision, whose data is a patch
	unstructured.RemoveNestedField(found, "metadata", "labels", hashLabel)
	dropNulls(found)
	text, err := json.Marshal(found) // maps are written with sorted keys
	if err != nil {
		return nil, fmt.Errorf("pod template: %w", err)
	}
	return text, nil
}

func dropNulls(v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			if inner == nil {
				delete(v, key)
			}
			dropNulls(inner)
		}
	case []any:
		for _, inner := range v {
			dropNulls(inner)
		}
	}
}

func (t template) equal(other template) bool { return bytes.Equal(t, other) }

// print is the hash that two equal templates have in common.
func (t template) print() string {
	sum := sha256.Sum256(t)
	return "template:" + hex.EncodeToString(sum[:16])
}

type container struct {
	Name  string `json:"name"`
	Image string `json:"image"`
}

// images names what the template runs: the image, or name=image of each container.
func (t template) images() string {
	var read struct {
		Spec struct {
			InitContainers []container `json:"initContainers"`
			Containers     []container `json:"containers"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(t, &read); err != nil {
		return "images that can't be read"
	}
	all := slices.Concat(read.Spec.InitContainers, read.Spec.Containers)
	if len(all) == 1 {
		return "image " + all[0].Image
	}
	said := make([]string, len(all))
	for i, c := range all {
		said[i] = c.Name + "=" + c.Image
	}
	return "images " + strings.Join(said, ", ")
}

const maxDiffers = 3 // fields named to people

// differs names the fields in which two templates differ, without their values, which may be
// nobody's business.
func (t template) differs(other template) (string, error) {
	var a, b any
	if err := errors.Join(json.Unmarshal(t, &a), json.Unmarshal(other, &b)); err != nil {
		return "", fmt.Errorf("pod templates can't be compared: %w", err)
	}
	paths := differing("", a, b)
	slices.Sort(paths)
	if more := len(paths) - maxDiffers; more > 0 {
		paths = append(paths[:maxDiffers], fmt.Sprintf("%d more", more))
	}
	return list(paths), nil
}

func differing(path string, a, b any) []string {
	x, isMap := a.(map[string]any)
	y, both := b.(map[string]any)
	if isMap && both {
		var all []string
		for key := range x {
			all = append(all, differing(path+"."+key, x[key], y[key])...)
		}
		for key := range y {
			if _, ok := x[key]; !ok {
				all = append(all, path+"."+key)
			}
		}
		return all
	}
	l, isList := a.([]any)
	m, both := b.([]any)
	if isList && both && len(l) == len(m) {
		var all []string
		for i := range l {
			all = append(all, differing(fmt.Sprintf("%s[%d]", path, i), l[i], m[i])...)
		}
		return all
	}
	one, err1 := json.Marshal(a)
	two, err2 := json.Marshal(b)
	if err1 != nil || err2 != nil || !bytes.Equal(one, two) {
		return []string{path}
	}
	return nil
}
