package config

func (c *Config) checkTokens() {
	seen := map[string]bool{}
	for _, t := range c.Tokens {
		switch {
		case t.Name == "":
			t.At.Wrong("it is the actor in the journal", "a token has no name")
		case seen[t.Name]:
			t.At.Child("name").Wrong("", "the token name %q is used twice", t.Name)
		}
		seen[t.Name] = true
		if (t.TokenHash == "") == (t.TokenFile == "") {
			t.At.Wrong("`gatekeeper token new` makes a secret and its token_hash", "token %q needs exactly one of token_hash and token_file", t.Name)
		}
		if len(t.Scopes) == 0 {
			t.At.Wrong("", "token %q has no scopes, so it could do nothing", t.Name)
		}
		t.At.Child("services").Check(t.Services.Err())
	}
}
