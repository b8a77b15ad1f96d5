# SPDX-License-Identifier: Apache-2.0
# fish completion for locum. Verbs and options are what locum's own --help says.

function __locum_verb
    set -l words (commandline -opc)
    for w in $words[2..-1]
        string match -q -- '-*' $w; or begin; echo $w; return; end
    end
end

function __locum_verbs
    locum --help 2>/dev/null | sed -n 's/^  \([a-z][a-z-]*\)  *\(.*\)/\1\t\2/p'
end

function __locum_options
    locum (__locum_verb) --help 2>/dev/null | sed -n 's/^ *\(-[a-z], \)\{0,1\}\(--[a-z-]*\)[^ ]* *\(.*\)/\2\t\3/p'
end

# Mounts by id, of a daemon that runs; completion starts none.
function __locum_ids
    set -l run /run/locum
    set -q LOCUM_RUN; and set run $LOCUM_RUN
    curl -s --max-time 1 --unix-socket $run/locum.sock http://locum/v1/mounts 2>/dev/null | grep -o '"id":"[^"]*"' | cut -d'"' -f4
end

complete -c locum -n 'test -z (__locum_verb)' -f -a '(__locum_verbs)'
complete -c locum -n 'string match -q -- "-*" (commandline -ct)' -f -a '(__locum_options)'
complete -c locum -n 'contains -- (__locum_verb) umount wait status why meter deadline' -a '(__locum_ids)'
complete -c locum -n 'string match -q -- meter (commandline -opc)[-1]' -f -a 'show set reload'
