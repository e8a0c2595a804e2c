package sink

import "time"

// Expire lets the files be looked at again with the next request.
func (s *Sink) Expire() {
	s.files.mu.Lock()
	defer s.files.mu.Unlock()
	s.files.looked = time.Time{}
}
