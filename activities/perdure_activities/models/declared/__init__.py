"""What providers and models are declared to be: YAML files of ours, of the operator, and of other distributions.

openai.yaml anthropic.yaml    providers with their current models
vllm.yaml ollama.yaml generic.yaml demo.yaml    profiles: any model, its name is the server's business
schema                        what such a file may say
load                          `Catalog`: finds and reads them, once, when first asked
    problems                      says where a file is wrong

Prices and features are data: a new model needs no code.
"""
