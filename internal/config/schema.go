package config

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The JSON Schema of the language, from the tables of keys that the parser uses: a
// key that is added there is in it. What the value of a key looks like is read from
// its want, but for lists and mappings, which are named below. An editor cannot see
// what hangs on other values, on other files or on this host: that is for validate.

// schema is a JSON Schema (draft 2020-12), as far as it is needed here.
type schema struct {
	Schema      string             `json:"$schema,omitempty"`
	Title       string             `json:"title,omitempty"`
	Description string             `json:"description,omitempty"`
	Ref         string             `json:"$ref,omitempty"`
	Type        any                `json:"type,omitempty"`
	Const       any                `json:"const,omitempty"`
	Enum        []any              `json:"enum,omitempty"`
	Default     any                `json:"default,omitempty"`
	Pattern     string             `json:"pattern,omitempty"`
	Minimum     *int               `json:"minimum,omitempty"`
	Maximum     *int               `json:"maximum,omitempty"`
	Items       *schema            `json:"items,omitempty"`
	Properties  map[string]*schema `json:"properties,omitempty"`
	Names       *schema            `json:"propertyNames,omitempty"`
	Others      any                `json:"additionalProperties,omitempty"` // false, or a schema
	Required    []string           `json:"required,omitempty"`
	MinEntries  int                `json:"minProperties,omitempty"`
	AnyOf       []*schema          `json:"anyOf,omitempty"`
	OneOf       []*schema          `json:"oneOf,omitempty"`
	AllOf       []*schema          `json:"allOf,omitempty"`
	If          *schema            `json:"if,omitempty"`
	Then        *schema            `json:"then,omitempty"`
	Defs        map[string]*schema `json:"$defs,omitempty"`
}

// Schema returns the JSON Schema (draft 2020-12) of the configuration, and of the
// files that it includes, as indented JSON.
func Schema() ([]byte, error) {
	root := tableSchema("", topKeys)
	root.Schema = "https://json-schema.org/draft/2020-12/schema"
	root.Title = "baton.yaml"
	root.Defs = map[string]*schema{
		"check":          checkSchema(),
		"service":        serviceSchema(),
		"virtual_router": tableSchema("virtual_router", routerKeys),
		"group":          tableSchema("group", groupKeys),
		"webhook":        tableSchema("webhook", webhookKeys),
		"track":          trackSchema(),
		"notify":         tableSchema("notify", notifyKeys),
		"hook":           hookSchema(),
		"command":        oneOrMore(textSchema()),
		// YAML has numbers where one means a name, and the parser takes them as they are written.
		"text":     {Type: []string{"string", "number"}},
		"duration": {Type: "string", Pattern: durationPattern},
	}
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the schema as JSON: %w", err)
	}
	return append(text, '\n'), nil
}

const (
	// durationPattern is as much of parseDuration as a pattern can say.
	durationPattern = `^(?:(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:ms|s|m|h|d))+$`
	// namePattern is what walk.name takes.
	namePattern = `^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`
)

// textSchema is any single value that is no boolean.
func textSchema() *schema { return reference("text") }

func booleanSchema() *schema { return &schema{Type: "boolean"} }

func constant(v any) *schema { return &schema{Const: v} }

func reference(name string) *schema { return &schema{Ref: "#/$defs/" + name} }

func listOf(item *schema) *schema { return &schema{Type: "array", Items: item} }

func anyOf(of ...*schema) *schema { return &schema{AnyOf: of} }

func integerSchema(least, most int) *schema {
	return &schema{Type: "integer", Minimum: &least, Maximum: &most}
}

// namesTo is a mapping of names that a user gives.
func namesTo(value *schema) *schema {
	return &schema{Type: []string{"object", "null"}, Names: &schema{Pattern: namePattern}, Others: value}
}

// mappingTo is a mapping of any keys.
func mappingTo(value *schema) *schema { return &schema{Type: "object", Others: value} }

// tableSchema is a mapping with the keys of a table; context tells apart those of
// one name that look different.
func tableSchema(context string, table keys) *schema {
	s := &schema{Type: []string{"object", "null"}, Properties: map[string]*schema{}, Others: false}
	for _, k := range table {
		s.Properties[k.name] = k.schema(context)
	}
	return s
}

// schema is what may stand at the key: one value, or one for each node.
func (k key) schema(context string) *schema {
	s := structured(context, k.name)
	if s == nil {
		s = wantSchema(k.want)
	}
	if k.perNode {
		value := *s
		s = anyOf(&value, &schema{Type: "object", Others: &value, MinEntries: 1})
	}
	shown := *s // a reference may have a description of its own
	shown.Description = k.want + ". " + k.does
	shown.Default = k.defaultValue(s)
	return &shown
}

// defaultValue is the default as JSON has it.
func (k key) defaultValue(s *schema) any {
	if k.def == "" {
		return nil
	}
	if s.Type == "boolean" || k.def == "true" || k.def == "false" {
		return k.def == "true"
	}
	if n, err := strconv.Atoi(k.def); err == nil {
		return n
	}
	return k.def
}

var (
	numberWanted = regexp.MustCompile(`^a number from (-?\d+) to (-?\d+)`)
	wordWanted   = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
)

// wantSchema reads what a value looks like from the words that a message has for it:
// "true or false", "a number from 1 to 255", "a duration ...", "text or json", or
// several of them. Whatever else is a text.
func wantSchema(want string) *schema {
	want, _, _ = strings.Cut(want, "; ")
	want, _, _ = strings.Cut(want, ": ")
	if strings.HasPrefix(want, "a duration") {
		return reference("duration")
	}
	if strings.HasPrefix(want, "a list of ") {
		return listOf(textSchema())
	}
	want = strings.TrimPrefix(want, "the word ")
	var words []any
	var numbers []*schema
	other := false
	comma := strings.NewReplacer(", or ", ", ", " or ", ", ")
	for alternative := range strings.SplitSeq(comma.Replace(want), ", ") {
		m := numberWanted.FindStringSubmatch(alternative)
		switch {
		case m != nil:
			least, _ := strconv.Atoi(m[1])
			most, _ := strconv.Atoi(m[2])
			numbers = append(numbers, integerSchema(least, most))
		case strings.HasPrefix(alternative, "a number from "):
			numbers = append(numbers, &schema{Type: "integer"})
		case wordWanted.MatchString(alternative):
			words = append(words, wordValue(alternative))
		case len(words)+len(numbers) == 0:
			return textSchema()
		default:
			other = true
		}
	}
	switch {
	case len(numbers) == 1 && len(words) == 0:
		return numbers[0]
	case len(numbers) > 0:
		return anyOf(append(numbers, &schema{Enum: words})...)
	case !other && slices.Equal(words, []any{true, false}):
		return booleanSchema()
	case !other:
		return &schema{Enum: words}
	case len(words) > 0:
		return anyOf(&schema{Enum: words}, textSchema())
	}
	return textSchema()
}

// wordValue is a word as YAML reads it.
func wordValue(word string) any {
	if n, err := strconv.Atoi(word); err == nil {
		return n
	}
	if word == "true" || word == "false" {
		return word == "true"
	}
	return word
}

// structured is what may stand at a key whose value is a list or a mapping, or has
// more forms than its want can tell; nil for others. A key that looks the same
// wherever it stands is found by its name alone.
func structured(context, name string) *schema {
	switch context {
	case "service command":
		return reference("command")
	case "notify":
		if name != "fifo" {
			return reference("hook")
		}
	}
	if s := structuredIn(context + "." + name); s != nil {
		return s
	}
	switch name {
	case "command":
		return reference("command")
	case "prefer":
		return oneOrMore(textSchema())
	case "track", "notify":
		return reference(name)
	case "services":
		return listOf(anyOf(constant("addresses"), reference("service")))
	case "addresses":
		return listOf(anyOf(textSchema(), tableSchema("address", addressKeys)))
	case "routes":
		return listOf(tableSchema("route", routeKeys))
	case "rules":
		return listOf(tableSchema("rule", ruleKeys))
	case "authentication":
		return tableSchema("authentication", authenticationKeys)
	case "virtual_mac":
		return anyOf(booleanSchema(), tableSchema("virtual_mac", virtualMACKeys))
	case "announce":
		return tableSchema("announce", announceKeys)
	case "revive":
		return anyOf(constant(false), tableSchema("revive", reviveKeys))
	case "params", "headers", "keys":
		return mappingTo(anyOf(textSchema(), booleanSchema()))
	case "tls":
		return anyOf(booleanSchema(), tableSchema("tls", tlsKeys))
	case "dialogue":
		return listOf(tableSchema("step", stepKeys))
	}
	return nil
}

// structuredIn is structured for a key that looks like that in one place only, which
// is named before it.
func structuredIn(key string) *schema {
	switch key {
	case ".nodes":
		s := namesTo(anyOf(textSchema(), mappingTo(textSchema())))
		s.Type, s.MinEntries = "object", 1
		return s
	case ".defaults":
		return tableSchema("defaults", defaultsKeys)
	case ".listen":
		return tableSchema("listen", listenKeys)
	case "listen.tls":
		return tableSchema("listen tls", listenTLSKeys)
	case ".log":
		return tableSchema("log", logKeys)
	case ".checks", ".groups", ".webhooks", ".virtual_routers":
		return namesTo(reference(strings.TrimSuffix(key[1:], "s")))
	case ".services":
		return listOf(reference("service"))
	case "defaults.virtual_router", "defaults.group":
		return reference(strings.TrimPrefix(key, "defaults."))
	case "defaults.check":
		return tableSchema("check", allCheckKeys())
	case "defaults.service":
		return tableSchema("service", commonServiceKeys)
	case "service.command":
		return tableSchema("service command", serviceCommandKeys)
	case "process.count":
		return anyOf(integerSchema(0, mostProcesses), tableSchema("count", countKeys))
	case "notify.fifo":
		return anyOf(textSchema(), constant([]any{})) // an empty list takes out that of the defaults
	case "connection.port":
		return oneOrMore(integerSchema(1, 65535))
	case "quorum.port":
		return integerSchema(1, 65535)
	case "http.status":
		return oneOrMore(textSchema())
	case "webhook.events":
		return oneOrMore(&schema{Enum: []any{"role", "check", "service"}})
	case "check.type":
		s := &schema{}
		for _, name := range checkTypeNames() {
			s.Enum = append(s.Enum, name)
		}
		return s
	case "check.count", "check.of", "check.status", "check.port": // in the defaults of checks, of whatever type
		return &schema{}
	}
	return nil
}

func oneOrMore(item *schema) *schema { return anyOf(item, listOf(item)) }

// checkSchema is a check: which keys it has hangs on its type, which the defaults
// may have.
func checkSchema() *schema {
	s := tableSchema("check", allCheckKeys())
	for i, kind := range checkTypes()[1:] {
		is := &schema{Properties: map[string]*schema{"type": constant(kind.name)}, Required: []string{"type"}}
		then := tableSchema(kind.name, CheckType(i+1).table())
		then.Properties["type"] = constant(kind.name)
		s.AllOf = append(s.AllOf, &schema{If: is, Then: then})
	}
	return s
}

// serviceSchema is a service: exactly one key says of which kind.
func serviceSchema() *schema {
	s := tableSchema("service", serviceKeys)
	s.Type = "object"
	for _, kind := range []ServiceKind{UnitService, ContainerService, OCFService, CommandService} {
		s.OneOf = append(s.OneOf, &schema{Required: []string{kind.String()}})
	}
	return s
}

// trackSchema is a list of checks, or the effect of each.
func trackSchema() *schema {
	effect := wantSchema(trackKeys.find("effect").want)
	return anyOf(listOf(textSchema()), namesTo(anyOf(effect, tableSchema("track", trackKeys))))
}

// hookSchema is what stands under an event of notify.
func hookSchema() *schema {
	one := tableSchema("command", commandKeys)
	one.Type = "object"
	return anyOf(textSchema(), one, listOf(anyOf(textSchema(), listOf(textSchema()), one)))
}
