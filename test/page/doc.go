// Package page opens the coordinator's status page in a real browser, headless, and looks at it as a person would: on a desk and on a
// phone, in the light and in the dark, with scripts and without. Screenshots of all of it stay in dist/page.
package page
