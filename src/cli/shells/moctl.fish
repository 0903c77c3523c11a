# Completes the words of moctl in fish: moctl completion fish | source in config.fish, or save it as
# ~/.config/fish/completions/moctl.fish.

function __moctl_complete
    set -l typed (commandline -opc)
    # The moctl of PATH, and not what the line names: a key is no reason to run a program of this directory.
    for line in (command moctl completion fish -- $typed[2..] "$(commandline -ct)" 2>/dev/null)
        switch $line
            case :directories
                __fish_complete_directories (commandline -ct)
            case :files
                __fish_complete_path (commandline -ct)
            case '*'
                printf '%s\n' $line
        end
    end
end

complete -c moctl -f -a '(__moctl_complete)'
