# `make demo` and `make test` are all a fresh machine needs: Python 3.11 to 3.13, make and a C compiler.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Bytecode is kept, whatever the shell says: without it every process compiles the package's 285 modules anew.
RUN := HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONDONTWRITEBYTECODE=

.PHONY: demo test lint types benchmark gpu zoo cards figures figures-data readme site dist clean

# Installed anew only when what is to be installed changes.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test]"
	touch $@

demo: $(VENV)/.installed
	$(RUN) $(BIN)/python recipes/next_token/learning_curve.py --config recipes/next_token/demo.yaml

test: $(VENV)/.installed
	$(RUN) $(BIN)/python -m pytest -n auto --dist loadfile

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Do users' type checkers know our types? At least 95 % of the public names, or it fails.
$(VENV)/.installed-types: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[types]"
	touch $@

types: $(VENV)/.installed-types
	PYTHON=$(BIN)/python .ci/types

benchmark: $(VENV)/.installed
	$(RUN) $(BIN)/python -m benchmarks

# Are the CUDA paths right, and how fast? Under 8 minutes on one GPU; writes runs/gpu.json.
gpu: $(VENV)/.installed
	$(RUN) $(BIN)/python -m benchmarks.gpu

# Every architecture of the installed transformers against one forward for every prefix: about 20 minutes on one core.
zoo: $(VENV)/.installed
	$(RUN) OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.zoo

cards: $(VENV)/.installed
	$(RUN) $(BIN)/python -m hub_cards.build
	$(RUN) $(BIN)/python -m rhm_hf.drawing.play docs/play/index.html

# The recipes with a figure, in the order they are run: representations reads the models of last_token,
# forward_backward_trained those of diffusion_rhm. TEXT: a UTF-8 file, or a corpus of the Hub.
SENTENCES := last_token/last_token visible_tokens/visible_tokens representations/representations \
	classification/classification families/families class_information/class_information zipf/zipf sparse/sparse \
	grammars/grammars trees/trees diffusion_rhm/diffusion_rhm \
	forward_backward/forward_backward_trained which_law/which_law memorisation/memorisation in_context/in_context
TEXTS := context_window/context_window conjecture/conjecture diffusion_text/diffusion_text
EXACT := forward_backward/forward_backward phase_diagram/phase_diagram controls/controls ngram/ngram \
	correlations/correlations_rhm trees/ambiguity last_token/distractors
TEXT ?= shakespeare

figures: $(VENV)/.installed
	set -e; for name in $(SENTENCES) $(TEXTS) $(EXACT) next_token/learning_curve scaling_exponent/scaling_exponent \
		correlations/correlations_text; do $(RUN) $(BIN)/python recipes/$$name.py --draw docs/figures; done
	$(RUN) $(BIN)/python recipes/context_window/context_window.py --draw docs/figures/wikitext
	$(RUN) $(BIN)/python recipes/ngram/ngram.py --draw docs/figures/v32
	$(RUN) $(BIN)/python recipes/last_token/last_token.py --draw docs/figures/v32
	set -e; for name in classes shallow; do \
		$(RUN) $(BIN)/python recipes/classification/classification.py --draw docs/figures/$$name; done
	set -e; for name in shakespeare wikitext tinystories tinystories_pieces; do \
		$(RUN) $(BIN)/python recipes/texts/texts.py --draw docs/figures/$$name; done

figures-data: $(VENV)/.installed
	set -e; for name in $(SENTENCES); do \
		$(RUN) $(BIN)/python recipes/$$name.py --config recipes/$${name%/*}/cpu.yaml --figures docs/figures; done
	set -e; for name in $(TEXTS); do \
		$(BIN)/python recipes/$$name.py --config recipes/$${name%/*}/cpu.yaml --figures docs/figures --text $(TEXT); done
	set -e; for name in $(EXACT); do $(RUN) $(BIN)/python recipes/$$name.py --figures docs/figures; done
	$(RUN) $(BIN)/python recipes/next_token/learning_curve.py --config recipes/next_token/demo.yaml --figures docs/figures
	$(BIN)/python recipes/scaling_exponent/scaling_exponent.py --config recipes/scaling_exponent/shakespeare.yaml \
		--figures docs/figures --text $(TEXT)
	$(BIN)/python recipes/correlations/correlations_text.py --figures docs/figures --text $(TEXT)

# The README's four pictures, by its commands: some ten minutes on two cores. TEXT as above, a file.
readme: $(VENV)/.installed
	$(RUN) $(BIN)/python docs/_site/readme_pictures.py $(filter-out shakespeare,$(TEXT))

# The documentation, in site/index.html; every warning is an error.
$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[docs]"
	touch $@

site: $(VENV)/.installed-docs
	$(RUN) NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Wheel and sdist, each installed into a fresh environment and imported.
dist:
	PYTHON=$(PYTHON) .ci/smoke

clean:
	rm -rf $(VENV) runs site
