# A function with all that hangs on it. `app.zip` and `layer.zip` lie beside this file.

variable "endpoint" {
  type = string
}

variable "greeting" {
  default = "hello"
}

terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "3.39.0"
    }
  }
}

provider "aws" {
  region                      = "us-east-1"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
  max_retries                 = 0

  endpoints {
    lambda = var.endpoint
    sts    = var.endpoint
  }
}

resource "aws_lambda_layer_version" "shared" {
  layer_name          = "terraform-shared"
  filename            = "layer.zip"
  source_code_hash    = filebase64sha256("layer.zip")
  compatible_runtimes = ["python3.8"]
}

resource "aws_lambda_function" "hello" {
  function_name = "terraform-hello"
  role          = "arn:aws:iam::000000000000:role/any"
  # The newest that this version of the provider knows.
  runtime          = "python3.8"
  handler          = "app.handler"
  filename         = "app.zip"
  source_code_hash = filebase64sha256("app.zip")
  publish          = true
  timeout          = 10
  memory_size      = 256
  layers           = [aws_lambda_layer_version.shared.arn]
  tags             = { of = "terraform" }

  environment {
    variables = { GREETING = var.greeting }
  }

  reserved_concurrent_executions = 5
}

resource "aws_lambda_alias" "live" {
  name             = "live"
  function_name    = aws_lambda_function.hello.function_name
  function_version = aws_lambda_function.hello.version
}

resource "aws_lambda_permission" "bucket" {
  statement_id  = "bucket"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.hello.function_name
  principal     = "s3.amazonaws.com"
  source_arn    = "arn:aws:s3:::bucket"
}

resource "aws_lambda_function_event_invoke_config" "events" {
  function_name                = aws_lambda_function.hello.function_name
  maximum_retry_attempts       = 0
  maximum_event_age_in_seconds = 60
}

data "aws_lambda_invocation" "call" {
  function_name = aws_lambda_function.hello.function_name
  qualifier     = aws_lambda_alias.live.name
  input         = jsonencode({ a = 1 })
}

output "said" {
  value = data.aws_lambda_invocation.call.result
}
