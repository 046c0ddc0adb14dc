package etcd

import (
	"context"
	"errors"
	"log/slog"
	"runtime"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapLogger passes etcd's log on to log, a step lower: what troubles a cluster is seldom news to
// the user of an embedded node. Where etcd would end the process, by a fatal line or a panic,
// fail is told instead and the goroutine ends: the daemon must live on to observe its actions.
// While closing says so, etcd's complaints that its listeners are closed are for debugging only.
func zapLogger(log *slog.Logger, closing func() bool, fail func(error)) *zap.Logger {
	end := ender{fail}
	return zap.New(&core{log: log, closing: closing}, zap.WithFatalHook(end), zap.WithPanicHook(end))
}

type ender struct{ fail func(error) }

// OnWrite implements zapcore.CheckWriteHook.
func (e ender) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	err := errors.New(entry.Message)
	for _, f := range fields {
		if cause, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
			err = &ended{entry.Message, cause}
		}
	}
	e.fail(err)
	runtime.Goexit()
}

// ended is etcd's last line with its cause.
type ended struct {
	says  string
	cause error
}

func (e *ended) Error() string { return e.says + ": " + e.cause.Error() }
func (e *ended) Unwrap() error { return e.cause }

// core is a zapcore.Core over slog.
type core struct {
	log     *slog.Logger
	closing func() bool
	fields  []zapcore.Field
}

// Enabled drops what etcd says for information.
func (c *core) Enabled(level zapcore.Level) bool { return level >= zapcore.WarnLevel }

// With gives a core that adds fields.
func (c *core) With(fields []zapcore.Field) zapcore.Core {
	return &core{c.log, c.closing, append(c.fields[:len(c.fields):len(c.fields)], fields...)}
}

// Check adds the core to an entry it wants.
func (c *core) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// ofANewStore is etcd's error of every new store, whose first term is yet to come. It tries again.
const ofANewStore = "failed to update storage version"

// Write logs an entry.
func (c *core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := slog.LevelDebug
	switch {
	case e.Level >= zapcore.DPanicLevel:
		level = slog.LevelError
	case e.Message == ofANewStore:
	case e.Level == zapcore.ErrorLevel && !c.closing():
		level = slog.LevelWarn
	}
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range append(c.fields[:len(c.fields):len(c.fields)], fields...) {
		f.AddTo(enc)
	}
	attrs := make([]slog.Attr, 0, len(enc.Fields))
	for k, v := range enc.Fields {
		attrs = append(attrs, slog.Any(k, v))
	}
	c.log.LogAttrs(context.Background(), level, "etcd: "+e.Message, attrs...)
	return nil
}

// Sync has nothing to do.
func (c *core) Sync() error { return nil }
