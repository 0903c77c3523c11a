# Completes the words of moctl in bash: eval "$(moctl completion bash)" in ~/.bashrc, or save it as
# /usr/share/bash-completion/completions/moctl.

_moctl() {
  local line
  COMPREPLY=()
  # The moctl of PATH, and not what the line names: a key is no reason to run a program of this directory.
  while IFS= read -r line; do
    case $line in
      :directories) compopt -o dirnames ;;
      :files) compopt -o default ;;
      *) COMPREPLY+=("${line%%$'\t'*}") ;;
    esac
  done < <(command moctl completion bash -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}

complete -F _moctl moctl
