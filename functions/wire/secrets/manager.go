//go:build !without_lambda

package secrets

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// manager is AWS Secrets Manager.
type manager struct{ client *secretsmanager.Client }

func newManager(ctx context.Context) (manager, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return manager{}, fmt.Errorf("configure AWS: %w", err)
	}
	return manager{secretsmanager.NewFromConfig(cfg)}, nil
}

// value returns the text of a secret; that of a secret that has none is empty.
func (m manager) value(ctx context.Context, arn string) (string, error) {
	out, err := m.client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String(arn)})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.SecretString), nil
}
