package structs

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fill sets every field of v to something that is not zero.
func fill(v reflect.Value, seed int) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Unix(int64(seed), 0).UTC()))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), seed)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), seed+i)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), seed)
		fill(v.Index(1), seed+1)
	case reflect.Map:
		key, val := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, seed)
		fill(val, seed)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, val)
	case reflect.String:
		v.SetString(fmt.Sprint("text", seed))
	case reflect.Bool:
		v.SetBool(true)
	default:
		switch {
		case v.CanInt():
			v.SetInt(int64(seed%100 + 1))
		case v.CanFloat():
			v.SetFloat(float64(seed) + 0.5)
		default:
			v.SetUint(uint64(seed%100 + 1))
		}
	}
}

// shared returns the path of something that a and b both point to, "" for nothing.
func shared(a, b reflect.Value, path string) string {
	switch a.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice:
		if a.Pointer() == b.Pointer() && a.Pointer() != 0 {
			return path
		}
	}
	switch a.Kind() {
	case reflect.Pointer:
		return shared(a.Elem(), b.Elem(), path)
	case reflect.Struct:
		for i := range a.NumField() {
			if p := shared(a.Field(i), b.Field(i), path+"."+a.Type().Field(i).Name); p != "" {
				return p
			}
		}
	case reflect.Slice:
		for i := range a.Len() {
			if p := shared(a.Index(i), b.Index(i), fmt.Sprintf("%s[%d]", path, i)); p != "" {
				return p
			}
		}
	case reflect.Map:
		for _, k := range a.MapKeys() {
			if p := shared(a.MapIndex(k), b.MapIndex(k), fmt.Sprintf("%s[%v]", path, k)); p != "" {
				return p
			}
		}
	}
	return ""
}

// copiers holds a value of every type that has a Copy method.
var copiers = []any{
	&Namespace{}, &RootKey{}, &VariableMetadata{}, &VariableEncrypted{}, &VariableDecrypted{}, &VariablesQuota{}, &ClusterMetadata{}, &Authority{}, &JoinToken{}, &Operation{}, &AutopilotConfig{},
	&Node{}, &NodePool{}, &NodeEvent{}, &DrainMetadata{}, &NodeResources{}, &NodeReservedResources{}, &NetworkResource{}, &NodeDeviceResource{}, &CSIInfo{},
}

func TestCopySharesNothing(t *testing.T) {
	for _, v := range copiers {
		orig := reflect.ValueOf(v)
		name := orig.Elem().Type().Name()
		t.Run(name, func(t *testing.T) {
			fill(orig.Elem(), 1)
			dup := orig.MethodByName("Copy").Call(nil)[0]
			if dup.Kind() != reflect.Pointer {
				p := reflect.New(dup.Type())
				p.Elem().Set(dup)
				dup = p
			}
			if diff := cmp.Diff(orig.Interface(), dup.Interface()); diff != "" {
				t.Errorf("copy differs:\n%s", diff)
			}
			if path := shared(orig, dup, name); path != "" {
				t.Errorf("copy shares %s", path)
			}
		})
	}
}

func TestCopyOfNil(t *testing.T) {
	if (*Namespace)(nil).Copy() != nil || (*RootKey)(nil).Copy() != nil || (*VariableEncrypted)(nil).Copy() != nil ||
		(*VariableDecrypted)(nil).Copy() != nil || (*VariablesQuota)(nil).Copy() != nil {
		t.Error("copy of nil is not nil")
	}
}

func TestEveryCopyIsTested(t *testing.T) {
	var have []string
	for _, v := range copiers {
		have = append(have, reflect.TypeOf(v).Elem().Name())
	}
	for _, name := range mustParse(t).copiers {
		if !slices.Contains(have, name) {
			t.Errorf("add %s to copiers", name)
		}
	}
}
