# Verbs of the Kubernetes test bed, for the Makefile at the root of the repository: `include tests/bed/bed.mk`.

BED := $(CURDIR)/target/bed/bed

.PHONY: bed bed-build bed-up bed-down bed-status

# The tool needs nothing but Go's standard library; the go command decides in a second whether it is up to date.
bed:
	@mkdir -p $(dir $(BED))
	@cd tests/bed && CGO_ENABLED=0 go build -buildvcs=false -o $(BED) ./cmd/bed

bed-build: bed ## build the test bed's programs (about 10 minutes the first time, then nothing)
	@$(BED) build

bed-up: bed ## start a Kubernetes of four nodes on this machine, or repair it (root)
	@$(BED) missing --install
	@$(BED) up

bed-down: bed ## stop it and delete its state; the built programs stay (root)
	@$(BED) down

bed-status: bed ## show the bed's hosts and whether they work (root)
	@$(BED) status
