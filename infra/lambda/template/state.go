package template

// bucket is the logical ID of the bucket that osls puts the zips into.
const bucket = "ServerlessDeploymentBucket"

// table checks the state table.
func (c *checker) table() {
	r := c.Resources[stateTable]
	if r.Type == "" {
		return
	}
	c.want(stateTable, `[{"AttributeName":"pk","KeyType":"HASH"},{"AttributeName":"sk","KeyType":"RANGE"}]`, "KeySchema")
	c.want(stateTable, `[{"AttributeName":"pk","AttributeType":"S"},{"AttributeName":"sk","AttributeType":"S"}]`, "AttributeDefinitions")
	c.want(stateTable, "PAY_PER_REQUEST", "BillingMode")
	c.want(stateTable, "expires", "TimeToLiveSpecification", "AttributeName")
	c.want(stateTable, "true", "TimeToLiveSpecification", "Enabled")
	c.want(stateTable, "true", "PointInTimeRecoverySpecification", "PointInTimeRecoveryEnabled")
	c.want(stateTable, "true", "SSESpecification", "SSEEnabled")
	if r.Properties["TableName"] != nil {
		c.say(stateTable, "has a name; a table that is kept would be in the way of the next stack")
	}
	protected := text(r.Properties["DeletionProtectionEnabled"])
	switch r.DeletionPolicy {
	case "Retain", "RetainExceptOnCreate":
	case "Delete":
		if protected == "true" {
			c.say(stateTable, "is protected from deletion, and to be deleted with the stack: that would fail")
		}
	default:
		c.say(stateTable, "DeletionPolicy is %q, want Retain, RetainExceptOnCreate or Delete", r.DeletionPolicy)
	}
	if r.UpdateReplacePolicy != "Retain" {
		c.say(stateTable, "UpdateReplacePolicy is %q, want Retain", r.UpdateReplacePolicy)
	}
	if protected != "true" && protected != "false" {
		c.say(stateTable, "DeletionProtectionEnabled is %q, want true or false", protected)
	}
}

// bucket checks that the zips are for nobody else.
func (c *checker) bucket() {
	if c.Resources[bucket].Type != "" {
		for _, property := range []string{"BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"} {
			c.want(bucket, "true", "PublicAccessBlockConfiguration", property)
		}
		if get(c.Resources[bucket].Properties, "BucketEncryption") == nil {
			c.say(bucket, "is not encrypted")
		}
	}
	statements, _ := get(c.Resources[bucket+"Policy"].Properties, "PolicyDocument", "Statement").([]any)
	for _, s := range statements {
		if text(get(s, "Effect")) != "Deny" {
			c.say(bucket+"Policy", "allows %s to %s", text(get(s, "Action")), text(get(s, "Principal")))
		}
	}
}

// outputs checks what a deployment reads back.
func (c *checker) outputs() {
	want := map[string]string{"StateTableName": "${" + stateTable + "}"}
	for _, f := range contracts() {
		if f.url {
			want[f.id("Url")] = "${" + f.id("LambdaFunctionUrl") + ".FunctionUrl}"
		}
	}
	for name, value := range want {
		if got := text(c.Outputs[name].Value); got != value {
			c.say(name, "the output is %q, want %q", got, value)
		}
	}
}
