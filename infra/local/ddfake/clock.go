package ddfake

import (
	"context"
	"errors"
	"time"
)

// Clock is the stand-in's time, which may run faster than the process's. It is safe for concurrent use.
type Clock struct {
	start, began time.Time
	speed        float64
}

// NewClock returns a clock that shows start now and then runs speed times as fast as the process's.
func NewClock(start time.Time, speed float64) (*Clock, error) {
	if !(speed > 0 && speed <= 1e6) {
		return nil, errors.New("ddfake: the speed of a clock is above 0 and at most a million")
	}
	return &Clock{start: start, began: time.Now(), speed: speed}, nil
}

// Now returns the stand-in's time.
func (c *Clock) Now() time.Time {
	return c.start.Add(time.Duration(float64(time.Since(c.began)) * c.speed))
}

// Wall returns the process's time at a time of the stand-in. Everything that leaves the stand-in is in wall time.
func (c *Clock) Wall(t time.Time) time.Time {
	return c.began.Add(time.Duration(float64(t.Sub(c.start)) / c.speed))
}

// Wait waits for d of the stand-in's time. It returns ctx's error when ctx ends before.
func (c *Clock) Wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(time.Duration(float64(d) / c.speed))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
