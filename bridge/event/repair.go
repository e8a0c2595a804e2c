package event

// Member is a member of an object that is there as a whole: its name and its value, as they are written.
type Member struct{ Name, Value []byte }

// Members are the members of the object that data begins with, up to where it stops being JSON, if it does.
func Members(data []byte) []Member {
	var members []Member
	s := scanner{data: data}
	s.visit = func(key, value span) {
		members = append(members, Member{Name: data[key.from+1 : key.to-1], Value: data[value.from:value.to]})
	}
	s.blanks()
	if s.at < len(data) && data[s.at] == '{' {
		s.value()
	}
	return members
}
